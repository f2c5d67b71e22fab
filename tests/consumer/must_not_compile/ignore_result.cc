// Whether listening worked must be looked at.
// refused: unused-result|unused-value|nodiscard
#include "weir/net/tcp/tcp_server.h"

#ifdef WRONG
void use(weir::TcpServer& server) { server.listen("127.0.0.1:0"); }
#else
bool use(weir::TcpServer& server) { return server.listen("127.0.0.1:0").has_value(); }
#endif
