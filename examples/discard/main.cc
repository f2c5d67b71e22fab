// weir-discard: throws away what its clients send (RFC 863).
//
// What it takes care of: nothing is kept, so no client costs memory, however much it sends; a
// client that half-closes is read to the end and then sees the server's end; a silent one is let
// go.

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
  CLI::App app("Throws away what its clients send (RFC 863).", "weir-discard");
  sample::listen_option(app, listen);
  sample::threads_option(app, options.threads);
  sample::seconds_option(app, "--idle-timeout", options.idle_timeout,
                         "after which a silent client is let go; 0: never");
  return sample::run(app, argc, argv, [&] {
    weir::EventLoop loop;
    weir::TcpServer server(loop, options);
    server.on_data([](weir::TcpConnection&, weir::Buffer& in) { in.clear(); });
    return weir::serve(loop, server, listen);
  });
}
