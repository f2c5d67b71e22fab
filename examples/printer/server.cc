// weir-printer-server: prints what its clients send, a line at a time.
//
// What it takes care of: a line may come in any number of pieces, and the last one without its
// newline; what a client sends can't forge a line of another's or drive the terminal; a client that
// sends a line without end, or nothing at all, costs a bounded amount of memory and time.

#include <CLI/CLI.hpp>
#include <algorithm>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <string>
#include <string_view>
#include <vector>

#include "weir/base/log.h"
#include "weir/base/result.h"
#include "weir/net/reactor/event_loop.h"
#include "weir/net/reactor/signal_set.h"
#include "weir/net/tcp/tcp_server.h"

namespace {

// A longer line is printed in pieces of this size.
constexpr std::size_t kMaxLine = 4096;

// What is kept of a connection between two readings.
struct Client {
  std::string name;
  std::string line;  // what has come of the current line
  bool cut = false;  // a piece of the current line was printed already
};

class Printer final : public weir::ConnectionHandler {
 public:
  void on_open(weir::TcpConnection& conn) override {
    const weir::SocketAddress peer = conn.peer_address();
    auto& client = conn.set_context<Client>();
    // A client on a Unix socket has no address.
    client.name = peer.is_ip() ? peer.without_v4_mapping().to_string()
                               : "client " + std::to_string(++nameless_);
    print("* " + client.name + " connected");
  }

  void on_data(weir::TcpConnection& conn, weir::Buffer& in) override {
    auto& client = *conn.context<Client>();
    for (std::string_view rest = in.view(); !rest.empty();) {
      const std::size_t length = std::min(rest.find('\n'), rest.size());
      const std::size_t taken = std::min(length, kMaxLine - client.line.size());
      client.line += rest.substr(0, taken);
      rest.remove_prefix(taken);
      if (rest.starts_with('\n')) {
        rest.remove_prefix(1);
        end_line(client);
      } else if (client.line.size() == kMaxLine) {
        print_line(client);
        client.cut = true;
      }
    }
    in.clear();
    if (std::ferror(stdout) != 0) conn.loop().stop();  // a full disk, say; main() tells
  }

  void on_close(weir::TcpConnection& conn, weir::CloseReason reason) override {
    auto& client = *conn.context<Client>();
    if (!client.line.empty()) print_line(client);  // it ended without a newline
    print("* " + client.name + " left: " + reason.to_string());
  }

 private:
  static void end_line(Client& client) {
    if (client.line.ends_with('\r')) client.line.pop_back();  // as telnet and curl send it
    if (!client.line.empty() || !client.cut) print_line(client);
    client.cut = false;
  }

  static void print_line(Client& client) {
    print(client.name + ": " + weir::escaped(client.line, kMaxLine));
    client.line.clear();
  }

  static void print(const std::string& line) { std::puts(line.c_str()); }

  int nameless_ = 0;
};

}  // namespace

int main(int argc, char** argv) {
  std::vector<std::string> texts = {"127.0.0.1:6666"};
  double idle_seconds = 600;
  CLI::App app("Prints what its clients send, a line at a time.", "weir-printer-server");
  app.add_option("--listen", texts,
                 "addresses: 127.0.0.1:6666, [::1]:6666, unix:/path, unix:@name; port 0 is any")
      ->delimiter(',')
      ->capture_default_str();
  app.add_option("--idle-timeout", idle_seconds,
                 "seconds after which a silent client is let go; 0: never")
      ->check(CLI::Range(0.0, 1e6))
      ->capture_default_str();
  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& error) {
    if (error.get_exit_code() == 0) return app.exit(error);  // --help
    std::fprintf(stderr, "error: %s\n", error.what());
    return 2;
  }
  std::vector<weir::SocketAddress> addresses;
  for (const std::string& text : texts) {
    const auto address = weir::SocketAddress::parse(text);
    if (!address) {
      weir::fail(address.error());
      return 2;
    }
    addresses.push_back(*address);
  }

  // A reader of our output sees each line at once, not only when a block is full.
  std::setvbuf(stdout, nullptr, _IOLBF, BUFSIZ);

  auto loop = weir::EventLoop::create();
  if (!loop) return weir::fail(loop.error());
  const auto idle =
      std::chrono::duration_cast<weir::Duration>(std::chrono::duration<double>(idle_seconds));
  weir::TcpServer server(**loop, {.idle_timeout = idle, .first_byte_timeout = idle});
  server.use_handler(std::make_shared<Printer>());
  for (const weir::SocketAddress& address : addresses) {
    const auto bound = server.listen(address);
    if (!bound) return weir::fail(bound.error());
    std::printf("listening on %s\n", bound->to_string().c_str());
  }

  bool stopping = false;
  const weir::SignalSet stop(**loop, {SIGINT, SIGTERM}, [&](int signal) {
    if (stopping) std::_Exit(128 + signal);  // asked twice
    stopping = true;
    server.shutdown(std::chrono::seconds(4), [&] { (*loop)->stop(); });
  });
  (*loop)->run();

  if (std::fflush(stdout) != 0 || std::ferror(stdout) != 0) {
    return weir::fail(weir::Error("standard output could not be written"));
  }
  return 0;
}
