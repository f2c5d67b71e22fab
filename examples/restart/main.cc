// weir-restart: answers each line with its name and process id, so that one can see which process
// serves. Start it a second time with the same --point: the new process takes over from the old.
//
// What it takes care of: no client is lost. The listening sockets never close; they go from process
// to process (SCM_RIGHTS), and with them whoever waits to be accepted. Who is connected already
// stays with the old process until it leaves, or --grace is over. Until the new process says that
// it serves, the old one does. Started by a service manager, it listens on the sockets it is given
// (LISTEN_FDS).
//
// Where all that happens is the last line of main(); the rest is an ordinary server.

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
    // What might go wrong is logged.
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
  CLI::App app("Answers with its name, and hands over to the next process.", "weir-restart");
  sample::listen_option(app, listen);
  weir::program::text_option(app, "--point", serving.hand_over, "PATH",
                             "the Unix path where one process takes over from the other");
  weir::program::text_option(app, "--name", name, "TEXT", "what it calls itself")
      ->default_str(name);
  sample::threads_option(app, options.threads);
  sample::seconds_option(app, "--grace", serving.grace,
                         "that clients have to leave after a hand-over; 0: none");
  sample::seconds_option(app, "--idle-timeout", options.idle_timeout,
                         "after which a silent client is let go; 0: never");
  return sample::run(app, argc, argv, [&] {
    weir::EventLoop loop;
    weir::TcpServer server(loop, options);
    server.use_handler(std::make_shared<Answerer>(weir::escaped(name)));
    return weir::serve(loop, server, listen, std::move(serving));
  });
}
