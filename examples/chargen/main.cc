// weir-chargen: sends lines of characters for as long as a client reads them (RFC 864).
//
// A client that does not read stops the generator and costs no CPU time. At most 128 KiB of output
// is queued for it, as references to one text that all clients share. After --stall-timeout without
// progress its connection is reset.

#include <chrono>
#include <string>
#include <vector>

#include "common/command_line.h"
#include "weir/net/buffer/shared_bytes.h"
#include "weir/net/reactor/event_loop.h"
#include "weir/net/service/serve.h"
#include "weir/net/tcp/tcp_server.h"

namespace {

// The RFC's popular pattern: 72 of the 95 printable characters a line, each line beginning one
// character later. It repeats after 95 lines.
std::string pattern() {
  std::string text;
  for (int line = 0; line < 95; ++line) {
    for (int column = 0; column < 72; ++column) {
      text += static_cast<char>(' ' + (line + column) % 95);
    }
    text += "\r\n";
  }
  return text;
}

}  // namespace

int main(int argc, char** argv) {
  std::vector<std::string> listen;
  weir::TcpServer::Options options{.write_stall_timeout = std::chrono::seconds(60),
                                   .high_water = 128 * 1024};
  CLI::App app("Sends lines of characters for as long as a client reads (RFC 864).",
               "weir-chargen");
  sample::listen_option(app, listen);
  sample::threads_option(app, options.threads);
  sample::seconds_option(app, "--stall-timeout", options.write_stall_timeout,
                         "after which a client that does not read is reset; 0: never");
  return sample::run(app, argc, argv, [&] {
    weir::EventLoop loop;
    weir::TcpServer server(loop, options);
    // Sends until the high mark is reached; on_drained calls it again when half of that is sent.
    const auto generate = [text = weir::SharedBytes::copy(pattern())](weir::TcpConnection& conn) {
      while (conn.send(text) == weir::SendResult::queued) {
      }
    };
    server.on_open(generate);
    server.on_drained(generate);
    return weir::serve(loop, server, listen);
  });
}
