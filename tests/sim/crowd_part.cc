// Clients that come and go, and a server whose handlers end connections of others; at some time it
// shuts down.
#include <chrono>
#include <deque>

#include "sim/options.h"
#include "sim/part.h"
#include "weir/net/tcp/tcp_client.h"
#include "weir/net/tcp/tcp_server.h"

namespace weir::test::simulation {
namespace {

class Crowd final : public Part {
 public:
  explicit Crowd(Setting setting)
      : setting_(std::move(setting)),
        loop_(setting_.any_loop()),
        server_(loop_, draw_options<TcpServer::Options>(setting_.world)) {
    server_.on_open([this](TcpConnection& connection) {
      open_.push_back(connection.ref());
      disturb();
    });
    server_.on_data([this](TcpConnection& connection, Buffer& in) {
      disturb();
      connection.send(in);
    });
    server_.on_close([this](TcpConnection& connection, CloseReason) {
      std::erase(open_, connection.ref());
      disturb();
    });
    close_after_peer(server_);
    const std::uint64_t latest = std::uint64_t{1'000'000} << setting_.world.random(10);
    timer_ = loop_.run_after(Duration(static_cast<std::int64_t>(setting_.world.random(latest))),
                             [this] { shut_down(); });
    serve_clients(server_, setting_, [this](const SocketAddress& address) { enter(address); });
  }

  ~Crowd() override { loop_.cancel(timer_); }

  bool done() override {
    return ends_ > 0 && server_.connection_count() == 0 &&
           std::ranges::all_of(clients_, [](const Client& client) {
             return client.visits_left == 0 && client.visit->life.done();
           });
  }

  void check() override {
    Verdict& verdict = setting_.verdict;
    verdict.expect(ends_ == 1, "crowd: the end of the shutdown was reported {} times", ends_);
    verdict.expect(open_.empty(), "crowd: {} connections were never closed", open_.size());
    const TcpServer::Stats stats = server_.stats();
    verdict.expect(stats.buffered == 0, "crowd: {} bytes stay buffered", stats.buffered);
  }

 private:
  // One connection of a client.
  struct Visit {
    explicit Visit(std::uint64_t number) : flow(number) {}
    Flow flow;
    Lifecycle life;
  };
  struct Client {
    std::size_t visits_left = 0;
    std::unique_ptr<Visit> visit;
    EventLoop* loop = nullptr;
    std::unique_ptr<TcpClient> tcp;
  };

  // Called in every handler. It may end the connection whose handler it is.
  void disturb() {
    sim::World& world = setting_.world;
    if (world.chance(0.05)) {
      server_.for_each_connection([this](TcpConnection&) { end_any(); });
    } else if (world.chance(0.2)) {
      end_any();
    }
  }

  void end_any() {
    sim::World& world = setting_.world;
    if (open_.empty() || world.chance(0.3)) return;
    TcpConnection* const connection = open_[world.random(open_.size())].get();
    if (connection == nullptr) return;
    if (world.chance(0.5)) {
      connection->abort();
    } else {
      connection->close();
    }
  }

  void shut_down() {
    server_.shutdown(std::chrono::seconds(100), [this] { ++ends_; });
  }

  void enter(const SocketAddress& address) {
    Client& client = clients_.emplace_back();
    client.visits_left = 1 + setting_.plan.messages;
    client.loop = &setting_.any_loop();
    client.tcp =
        std::make_unique<TcpClient>(*client.loop, draw_options<TcpClient::Options>(setting_.world));
    client.tcp->on_open([this, &client](TcpConnection& connection) {
      client.visit->life.opened(setting_.verdict, "visitor");
      connection.send(client.visit->flow.next(setting_.size()));
    });
    client.tcp->on_data([this, &client](TcpConnection& connection, Buffer& in) {
      Visit& visit = *client.visit;
      visit.flow.take(in.view());
      in.clear();
      setting_.verdict.expect(visit.flow.correct(), "crowd: byte {} came back wrong",
                              visit.flow.taken());
      if (visit.flow.complete()) connection.close();
    });
    client.tcp->on_close([this, &client, address](TcpConnection&, CloseReason reason) {
      client.visit->life.closed(setting_.verdict, "visitor", reason);
      visit_again(client, address);
    });
    client.tcp->on_connect_error([this, &client, address](const Error&, int) {
      client.visit->life.failed_to_connect();
      visit_again(client, address);
    });
    close_after_peer(*client.tcp);
    visit_again(client, address);
  }

  // In a task, because a client has its connection until the handler returns.
  void visit_again(Client& client, const SocketAddress& address) {
    if (client.visits_left == 0) return;
    client.loop->post([this, &client, address] {
      --client.visits_left;
      client.visit = std::make_unique<Visit>(setting_.number * 1000 + ++visits_);
      const auto begun = client.tcp->connect(address);
      setting_.verdict.expect(begun.has_value(), "crowd: {}", begun ? "" : begun.error().message());
    });
  }

  Setting setting_;
  EventLoop& loop_;
  TcpServer server_;
  std::vector<ConnectionRef> open_;
  std::deque<Client> clients_;  // their addresses stay
  TimerId timer_;
  std::uint64_t visits_ = 0;
  int ends_ = 0;
};

}  // namespace

std::unique_ptr<Part> make_crowd(const Setting& setting) {
  return std::make_unique<Crowd>(setting);
}

}  // namespace weir::test::simulation
