// weir-daytime: sends each client the date and the time as a line of text, then closes (RFC 867).
//
// close() first sends the line. Then it reads and discards what the client sends until the client
// closes, because unread bytes would turn the close into a reset.

#include <fmt/chrono.h>

#include <chrono>
#include <ctime>
#include <string>
#include <vector>

#include "common/command_line.h"
#include "weir/net/reactor/event_loop.h"
#include "weir/net/service/serve.h"
#include "weir/net/tcp/tcp_server.h"

namespace {

// The RFC's example is "Tuesday, February 22, 1982 17:37:43-PST".
std::string daytime() {
  const std::time_t now = std::chrono::system_clock::to_time_t(std::chrono::system_clock::now());
  return fmt::format("{:%A, %B %d, %Y %H:%M:%S}-UTC\r\n", fmt::gmtime(now));
}

}  // namespace

int main(int argc, char** argv) {
  std::vector<std::string> listen;
  weir::TcpServer::Options options;
  CLI::App app("Sends the date and the time as a line of text (RFC 867).", "weir-daytime");
  sample::listen_option(app, listen);
  sample::seconds_option(app, "--linger", options.linger_timeout,
                         "to wait until the client closes, too; 0: for ever");
  return sample::run(app, argc, argv, [&] {
    weir::EventLoop loop;
    weir::TcpServer server(loop, options);
    server.on_open([](weir::TcpConnection& conn) {
      conn.send(daytime());
      conn.close();
    });
    return weir::serve(loop, server, listen);
  });
}
