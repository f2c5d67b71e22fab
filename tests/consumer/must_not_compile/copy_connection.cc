// A connection has one owner, its loop.
// refused: use of deleted function|call to deleted
#include "weir/net/stream/tcp_connection.h"

#ifdef WRONG
void use(weir::TcpConnection& conn) { weir::TcpConnection copy = conn; }
#else
void use(weir::TcpConnection& conn) { static_cast<void>(conn.id()); }
#endif
