// weir-idle-kick: an echo server that warns silent clients, and disconnects them if they stay
// silent.
//
// A client that never sends anything has less time than one that has sent something. Every client
// gets a message before it is disconnected. Each connection is checked once per idle timeout, so a
// message costs no timer operation. The time that a closing connection may take is limited, too.

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

// The context of a client that was warned.
struct Warned {
  std::uint64_t bytes_in;  // received from it before the warning
};

class IdleChecker final : public weir::ConnectionHandler {
 public:
  explicit IdleChecker(weir::Duration idle_timeout)
      : warning_(fmt::format("* still there? you have {} s to say something\n",
                             std::chrono::duration<double>(idle_timeout).count())) {}

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
    return true;  // restarts the idle timeout
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
  CLI::App app("An echo server that warns idle clients, then disconnects them.", "weir-idle-kick");
  sample::listen_option(app, listen);
  sample::seconds_option(
      app, "--idle-timeout", options.idle_timeout,
      "of silence before the warning, and again before the disconnect; 0: never");
  sample::seconds_option(app, "--first-byte-timeout", options.first_byte_timeout,
                         "in which a new client must send its first byte; 0: for ever");
  return sample::run(app, argc, argv, [&] {
    weir::EventLoop loop;
    weir::TcpServer server(loop, options);
    server.use_handler(std::make_shared<IdleChecker>(options.idle_timeout));
    return weir::serve(loop, server, listen);
  });
}
