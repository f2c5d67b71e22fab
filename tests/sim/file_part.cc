// A server sends files, with text before and after each, and closes.
#include <deque>

#include "sim/options.h"
#include "sim/part.h"
#include "weir/net/tcp/tcp_client.h"
#include "weir/net/tcp/tcp_server.h"

namespace weir::test::simulation {
namespace {

class Files final : public Part {
 public:
  explicit Files(Setting setting)
      : setting_(std::move(setting)),
        server_(setting_.any_loop(), draw_options<TcpServer::Options>(setting_.world)) {
    server_.on_data([this](TcpConnection& connection, Buffer& in) {
      Client& client = clients_[static_cast<unsigned char>(in.view().front())];
      in.clear();
      serve(client, connection);
    });
    close_after_peer(server_);
    serve_clients(server_, setting_, [this](const SocketAddress& address) { start(address); });
  }

  bool done() override { return all_ended(clients_, server_); }

  void check() override {
    for (const Client& client : clients_) {
      Verdict& verdict = setting_.verdict;
      verdict.expect(client.flow.correct(), "file: byte {} is wrong", client.flow.taken());
      const bool whole = client.life.reason() == CloseReason::Kind::peer_eof && !client.no_file;
      verdict.expect(!whole || client.flow.complete(), "file: {} of {} bytes before the end",
                     client.flow.taken(), client.flow.made());
    }
  }

 private:
  struct Client {
    explicit Client(std::uint64_t number) : flow(number) {}
    Flow flow;
    Lifecycle life;
    bool no_file = false;  // no descriptor was left
    std::unique_ptr<TcpClient> tcp;
  };

  void serve(Client& client, TcpConnection& connection) {
    for (std::size_t i = 0; i < setting_.plan.messages; ++i) {
      connection.send(client.flow.next(setting_.size()));
      // The bytes before the offset are not sent.
      const std::size_t offset = setting_.world.random(100);
      const std::string bytes = client.flow.next(setting_.size());
      const int file = setting_.world.open_file(std::string(offset, '#') + bytes + "###");
      if (file < 0) {
        client.no_file = true;
        break;
      }
      connection.send_file(Fd(file), offset, bytes.size());
    }
    connection.send(client.flow.next(1));
    connection.close();
  }

  void start(const SocketAddress& address) {
    const std::size_t index = clients_.size();
    Client& client = clients_.emplace_back(setting_.number * 100 + index);
    client.tcp = std::make_unique<TcpClient>(setting_.any_loop(),
                                             draw_options<TcpClient::Options>(setting_.world));
    client.tcp->on_open([this, &client, index](TcpConnection& connection) {
      client.life.opened(setting_.verdict, "file client");
      connection.send(std::string(1, static_cast<char>(index)));
    });
    client.tcp->on_data([&client](TcpConnection&, Buffer& in) {
      client.flow.take(in.view());
      in.clear();
    });
    close_after_peer(*client.tcp);
    connect(*client.tcp, address, client.life, setting_.verdict, "file client");
  }

  Setting setting_;
  TcpServer server_;
  std::deque<Client> clients_;  // their addresses stay
};

}  // namespace

std::unique_ptr<Part> make_file(const Setting& setting) { return std::make_unique<Files>(setting); }

}  // namespace weir::test::simulation
