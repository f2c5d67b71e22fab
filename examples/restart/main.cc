// weir-restart: answers each line with its name and process id, which show which process serves.
// Start it a second time with the same --point: the new process takes over from the old one.
//
// No client is lost. The listening sockets are never closed: they are passed from process to
// process (SCM_RIGHTS), together with the connections that are not accepted yet. Connections that
// exist already stay with the old process until they end or --grace is over. The old process serves
// until the new one reports that it does. If a service manager starts the program, it listens on
// the inherited sockets (LISTEN_FDS).
//
// The last line of main() does all that; the rest is an ordinary server.

#include <unistd.h>

#include <chrono>
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "common/command_line.h"
#include "program/command_line.h"
#include "weir/base/log.h"
#include "weir/net/codec/framed_handler.h"
#include "weir/net/codec/line_codec.h"
#include "weir/net/reactor/event_loop.h"
#include "weir/net/service/serve.h"
#include "weir/net/tcp/tcp_server.h"

namespace {

constexpr std::size_t kMaxLine = 1024;

class Answerer final : public weir::FramedHandler<weir::LineCodec> {
 public:
  explicit Answerer(const std::string& name)
      : FramedHandler(weir::LineCodec({.max_frame = 6 * kMaxLine + 512})),
        prefix_(name + ", process " + std::to_string(::getpid()) + ": ") {}

  void on_frame(weir::TcpConnection& conn, std::string_view line) override {
    // send_frame() logs its errors.
    static_cast<void>(send_frame(conn, prefix_ + weir::escaped(line, kMaxLine)));
  }

 private:
  const std::string prefix_;
};

}  // namespace

int main(int argc, char** argv) {
  std::vector<std::string> listen = {"127.0.0.1:7007"};
  std::string name = "weir-restart";
  weir::TcpServer::Options options{.idle_timeout = std::chrono::minutes(5),
                                   .message_timeout = std::chrono::seconds(30)};
  weir::ServeOptions serving{.inherit = true};
  CLI::App app("Answers with its name, and hands over to a new process.", "weir-restart");
  sample::listen_option(app, listen);
  weir::program::text_option(app, "--point", serving.hand_over, "PATH",
                             "the Unix path at which a new process takes over");
  weir::program::text_option(app, "--name", name, "TEXT", "the name in its answers")
      ->default_str(name);
  sample::threads_option(app, options.threads);
  sample::seconds_option(app, "--grace", serving.grace,
                         "that clients may stay connected after a hand-over; 0: none");
  sample::seconds_option(app, "--idle-timeout", options.idle_timeout,
                         "of silence after which a client is disconnected; 0: never");
  return sample::run(app, argc, argv, [&] {
    weir::EventLoop loop;
    weir::TcpServer server(loop, options);
    server.use_handler(std::make_shared<Answerer>(weir::escaped(name)));
    return weir::serve(loop, server, listen, std::move(serving));
  });
}
