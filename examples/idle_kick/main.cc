// weir-idle-kick: an echo that asks silent clients whether they are still there, and shows them the
// door if they do not answer.
//
// What it takes care of: who never says a word has less time than who has; everybody is told before
// the end; a connection is looked at once in an idle time, so that a message costs no timer
// operation; the time that a closing connection may take is bounded as well.

#include <fmt/format.h>

#include <chrono>
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "common/command_line.h"
#include "weir/net/reactor/event_loop.h"
#include "weir/net/service/serve.h"
#include "weir/net/tcp/tcp_server.h"

namespace {

// What is kept of a client that was warned.
struct Warned {
  std::uint64_t bytes_in;  // what had come from it by then
};

class Doorman final : public weir::ConnectionHandler {
 public:
  explicit Doorman(weir::Duration patience)
      : warning_(fmt::format("* still there? you have {} s to say something\n",
                             std::chrono::duration<double>(patience).count())) {}

  void on_data(weir::TcpConnection& conn, weir::Buffer& in) override { conn.send(in); }

  bool on_timeout(weir::TcpConnection& conn, weir::CloseReason::Kind kind) override {
    if (kind == weir::CloseReason::Kind::first_byte_timeout) {
      conn.send("* you never said a word: goodbye\n");
      return false;
    }
    const auto* warned = conn.context<Warned>();
    if (warned != nullptr && warned->bytes_in == conn.bytes_in()) {
      conn.send("* goodbye\n");
      return false;
    }
    conn.set_context<Warned>(conn.bytes_in());
    conn.send(warning_);
    return true;  // the idle time starts anew
  }

 private:
  const std::string warning_;
};

}  // namespace

int main(int argc, char** argv) {
  std::vector<std::string> listen;
  weir::TcpServer::Options options{.idle_timeout = std::chrono::seconds(60),
                                   .first_byte_timeout = std::chrono::seconds(20),
                                   .write_stall_timeout = std::chrono::seconds(60),
                                   .linger_timeout = std::chrono::seconds(2),
                                   .drain_timeout = std::chrono::seconds(5)};
  CLI::App app("An echo that kicks idle clients, after a warning.", "weir-idle-kick");
  sample::listen_option(app, listen);
  sample::seconds_option(
      app, "--idle-timeout", options.idle_timeout,
      "of silence before the warning, and as long again before the end; 0: never");
  sample::seconds_option(app, "--first-byte-timeout", options.first_byte_timeout,
                         "for a new client to say anything at all; 0: for ever");
  return sample::run(app, argc, argv, [&] {
    weir::EventLoop loop;
    weir::TcpServer server(loop, options);
    server.use_handler(std::make_shared<Doorman>(options.idle_timeout));
    return weir::serve(loop, server, listen);
  });
}
