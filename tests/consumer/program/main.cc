// A stranger's program: serves one address for a moment and ends.
#include <chrono>
#include <iostream>

#include "weir/net/reactor/event_loop.h"
#include "weir/net/tcp/tcp_server.h"

int main() {
  using namespace std::chrono_literals;
  weir::EventLoop loop;
  weir::TcpServer server(loop, {.threads = 0, .idle_timeout = 60s});
  server.on_data([](weir::TcpConnection& conn, weir::Buffer& in) { conn.send(in); });
  auto bound = server.listen("127.0.0.1:0");
  if (!bound) return weir::fail(bound.error());
  std::cout << "listening on " << bound->to_string() << std::endl;
  loop.run_after(1ms, [&] { server.shutdown(1s, [&] { loop.stop(); }); });
  loop.run();
}
