// Answers whatever a client sends. Try it: echo world | nc -N 127.0.0.1 7000
#include "weir/net/service/serve.h"
#include "weir/net/tcp/tcp_server.h"

int main() {
  weir::EventLoop loop;
  weir::TcpServer server(loop);
  server.on_data([](weir::TcpConnection& conn, weir::Buffer& in) {
    conn.send("hello, " + in.take());  // take: all bytes that have arrived
  });
  return weir::serve(loop, server, {"127.0.0.1:7000"});
}
