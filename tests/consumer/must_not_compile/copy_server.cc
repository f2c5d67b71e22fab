// A server is known by address to its acceptors and connections.
// refused: use of deleted function|call to deleted
#include "weir/net/tcp/tcp_server.h"

#ifdef WRONG
void use(weir::TcpServer& server) { weir::TcpServer copy = server; }
#else
void use(weir::TcpServer& server) { static_cast<void>(server.connection_count()); }
#endif
