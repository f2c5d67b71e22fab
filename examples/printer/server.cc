// weir-printer-server: prints what its clients send, a line at a time.
//
// A line may come in any number of pieces, and the last line without its newline. Text from a
// client can neither forge a line of another client nor control the terminal. A client that sends a
// line without end, or nothing at all, costs a limited amount of memory and time.

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <string>
#include <string_view>
#include <vector>

#include "common/command_line.h"
#include "weir/base/log.h"
#include "weir/base/result.h"
#include "weir/net/reactor/event_loop.h"
#include "weir/net/service/serve.h"
#include "weir/net/tcp/tcp_server.h"

namespace {

// A longer line is printed in pieces of this size.
constexpr std::size_t kMaxLine = 4096;

// The context of a connection.
struct Client {
  std::string name;
  std::string line;  // received so far of the current line
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
    if (std::ferror(stdout) != 0) conn.loop().stop();  // a full disk, for example; run() reports it
  }

  void on_close(weir::TcpConnection& conn, weir::CloseReason reason) override {
    auto& client = *conn.context<Client>();
    if (!client.line.empty()) print_line(client);  // the last line without a newline
    print("* " + client.name + " left: " + reason.to_string());
  }

 private:
  static void end_line(Client& client) {
    if (client.line.ends_with('\r')) client.line.pop_back();  // as telnet and curl send lines
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
  std::vector<std::string> listen = {"127.0.0.1:6666"};
  weir::TcpServer::Options options{.idle_timeout = std::chrono::minutes(10)};
  CLI::App app("Prints what its clients send, a line at a time.", "weir-printer-server");
  sample::listen_option(app, listen);
  sample::seconds_option(app, "--idle-timeout", options.idle_timeout,
                         "of silence after which a client is disconnected; 0: never");
  return sample::run(app, argc, argv, [&] {
    // Line buffering: each line is visible at once, also in a pipe.
    std::setvbuf(stdout, nullptr, _IOLBF, BUFSIZ);

    options.first_byte_timeout = options.idle_timeout;
    weir::EventLoop loop;
    weir::TcpServer server(loop, options);
    server.use_handler(std::make_shared<Printer>());
    return weir::serve(loop, server, listen);
  });
}
