// weir-discard: discards what its clients send (RFC 863).
//
// It keeps nothing, so a client costs no memory however much it sends. After a client's half-close
// it reads the rest, then closes. It disconnects silent clients.

#include <chrono>
#include <string>
#include <vector>

#include "common/command_line.h"
#include "weir/net/reactor/event_loop.h"
#include "weir/net/service/serve.h"
#include "weir/net/tcp/tcp_server.h"

int main(int argc, char** argv) {
  std::vector<std::string> listen;
  weir::TcpServer::Options options{.idle_timeout = std::chrono::seconds(300)};
  CLI::App app("Discards what its clients send (RFC 863).", "weir-discard");
  sample::listen_option(app, listen);
  sample::threads_option(app, options.threads);
  sample::seconds_option(app, "--idle-timeout", options.idle_timeout,
                         "of silence after which a client is disconnected; 0: never");
  return sample::run(app, argc, argv, [&] {
    weir::EventLoop loop;
    weir::TcpServer server(loop, options);
    server.on_data([](weir::TcpConnection&, weir::Buffer& in) { in.clear(); });
    return weir::serve(loop, server, listen);
  });
}
