// Clients send messages to a server that returns them, and end in one of several ways.
#include <deque>

#include "sim/options.h"
#include "sim/part.h"
#include "weir/net/tcp/tcp_client.h"
#include "weir/net/tcp/tcp_server.h"

namespace weir::test::simulation {
namespace {

class Echo final : public Part {
 public:
  explicit Echo(Setting setting)
      : setting_(std::move(setting)),
        server_(setting_.any_loop(), draw_options<TcpServer::Options>(setting_.world)) {
    server_.on_data([this](TcpConnection& connection, Buffer& in) { answer(connection, in); });
    close_after_peer(server_);
    serve_clients(server_, setting_, [this](const SocketAddress& address) { start(address); });
  }

  bool done() override { return all_ended(clients_, server_); }

  void check() override {
    Verdict& verdict = setting_.verdict;
    for (const Client& client : clients_) {
      verdict.expect(client.flow.correct(), "echo: byte {} came back wrong", client.flow.taken());
      const bool whole = !client.life.faulty() && client.end == End::half_close &&
                         client.life.was_opened() && undisturbed(server_);
      verdict.expect(!whole || client.flow.complete(), "echo: {} of {} bytes came back",
                     client.flow.taken(), client.flow.made());
    }
    verdict.expect(server_.stats().buffered == 0, "echo: {} bytes stay buffered",
                   server_.stats().buffered);
  }

 private:
  enum class End { close, half_close, abort };
  struct Client {
    explicit Client(std::uint64_t number) : flow(number) {}
    Flow flow;
    Lifecycle life;
    End end = End::close;
    std::size_t left = 0;
    std::unique_ptr<TcpClient> tcp;
  };

  // Sometimes the handler leaves a part of the input, and takes it in the next call.
  void answer(TcpConnection& connection, Buffer& in) {
    if (in.size() > 1 && setting_.world.chance(0.1)) {
      const std::size_t part = 1 + setting_.world.random(in.size() - 1);
      connection.send(in.take(part));
      connection.redeliver_input();
    } else {
      connection.send(in);
    }
  }

  void start(const SocketAddress& address) {
    sim::World& world = setting_.world;
    Client& client = clients_.emplace_back(setting_.number * 100 + clients_.size());
    client.end = static_cast<End>(world.random(3));
    client.left = setting_.plan.messages;
    client.tcp =
        std::make_unique<TcpClient>(setting_.any_loop(), draw_options<TcpClient::Options>(world));
    Verdict& verdict = setting_.verdict;
    client.tcp->on_open([&](TcpConnection& connection) {
      client.life.opened(verdict, "echo client");
      talk(client, connection);
    });
    client.tcp->on_data([&](TcpConnection& connection, Buffer& in) {
      client.flow.take(in.view());
      in.clear();
      verdict.expect(client.life.is_open(), "echo client: data after the close");
      if (client.flow.complete() || setting_.world.chance(0.2)) talk(client, connection);
    });
    close_after_peer(*client.tcp);
    connect(*client.tcp, address, client.life, setting_.verdict, "echo client");
  }

  void talk(Client& client, TcpConnection& connection) {
    if (client.left > 0) {
      --client.left;
      connection.send(client.flow.next(setting_.size()));
      return;
    }
    switch (client.end) {
      case End::half_close:
        connection.shutdown();
        break;
      case End::abort:
        connection.abort();
        break;
      default:
        if (client.flow.complete()) connection.close();
    }
  }

  Setting setting_;
  TcpServer server_;
  std::deque<Client> clients_;  // their addresses stay
};

}  // namespace

std::unique_ptr<Part> make_echo(const Setting& setting) { return std::make_unique<Echo>(setting); }

}  // namespace weir::test::simulation
