// Connections come from a server, not from a program.
// refused: private|protected|no matching function|passkey
#include "weir/net/stream/tcp_connection.h"

#ifdef WRONG
void use() { weir::TcpConnection conn; }
#else
void use(weir::TcpConnection& conn) { conn.close(); }
#endif
