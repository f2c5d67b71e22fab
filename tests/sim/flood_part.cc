// A server sends as much as its clients take, and closes. The clients pause, leave bytes, and send
// meanwhile.
#include <chrono>
#include <deque>

#include "sim/options.h"
#include "sim/part.h"
#include "weir/net/tcp/tcp_client.h"
#include "weir/net/tcp/tcp_server.h"

namespace weir::test::simulation {
namespace {

class Flood final : public Part {
 public:
  explicit Flood(Setting setting)
      : setting_(std::move(setting)), server_(setting_.any_loop(), small_marks()) {
    server_.on_data([this](TcpConnection& connection, Buffer& in) { begin(connection, in); });
    server_.on_drained([this](TcpConnection& connection) { pour(connection); });
    server_.on_close([this](TcpConnection& connection, CloseReason reason) {
      if (Client** client = connection.context<Client*>()) (*client)->server_reason = reason.kind;
    });
    close_after_peer(server_);
    serve_clients(server_, setting_, [this](const SocketAddress& address) { start(address); });
  }

  ~Flood() override {
    for (Client& client : clients_) client.loop->cancel(client.timer);
  }

  bool done() override { return all_ended(clients_, server_); }

  void check() override {
    Verdict& verdict = setting_.verdict;
    for (const Client& client : clients_) {
      verdict.expect(client.flow.correct(), "flood: byte {} is wrong", client.flow.taken());
      const bool whole = client.life.reason() == CloseReason::Kind::peer_eof &&
                         client.server_reason == CloseReason::Kind::local_close;
      verdict.expect(!whole || client.flow.complete(), "flood: {} of {} bytes before the end",
                     client.flow.taken(), client.flow.made());
    }
    verdict.expect(server_.stats().buffered == 0, "flood: {} bytes stay buffered",
                   server_.stats().buffered);
  }

 private:
  static constexpr Duration kLongestPause = std::chrono::milliseconds(20);

  struct Client {
    explicit Client(std::uint64_t number) : flow(number) {}
    Flow flow;
    Lifecycle life;
    CloseReason::Kind server_reason = CloseReason::Kind::aborted;
    std::size_t left = 0;  // messages that the server sends
    EventLoop* loop = nullptr;
    TimerId timer;
    std::unique_ptr<TcpClient> tcp;
  };

  TcpServer::Options small_marks() {
    auto options = draw_options<TcpServer::Options>(setting_.world);
    options.high_water = std::uint64_t{1024} << setting_.world.random(6);
    return options;
  }

  // The first byte of a client is its number.
  void begin(TcpConnection& connection, Buffer& in) {
    if (connection.context<Client*>() == nullptr) {
      const auto index = static_cast<unsigned char>(in.view().front());
      connection.set_context<Client*>(&clients_[index]);
      pour(connection);
    }
    in.clear();
  }

  // Until nothing more is accepted: on_drained continues.
  void pour(TcpConnection& connection) {
    Client** const found = connection.context<Client*>();
    if (found == nullptr) return;
    Client& client = **found;
    while (client.left > 0) {
      --client.left;
      if (connection.send(client.flow.next(setting_.size())) == SendResult::above_high_mark) return;
    }
    connection.close();
  }

  void start(const SocketAddress& address) {
    sim::World& world = setting_.world;
    const std::size_t index = clients_.size();
    Client& client = clients_.emplace_back(setting_.number * 100 + index);
    client.left = 4 * setting_.plan.messages;
    client.loop = &setting_.any_loop();
    client.tcp = std::make_unique<TcpClient>(*client.loop, draw_options<TcpClient::Options>(world));
    client.tcp->on_open([this, &client, index](TcpConnection& connection) {
      client.life.opened(setting_.verdict, "flood client");
      connection.send(std::string(1, static_cast<char>(index)));
    });
    client.tcp->on_data(
        [this, &client](TcpConnection& connection, Buffer& in) { take(client, connection, in); });
    close_after_peer(*client.tcp);
    connect(*client.tcp, address, client.life, setting_.verdict, "flood client");
  }

  void take(Client& client, TcpConnection& connection, Buffer& in) {
    sim::World& world = setting_.world;
    const std::size_t part = world.chance(0.2) ? 1 + world.random(in.size()) : in.size();
    client.flow.take(in.take(part));
    if (!in.empty()) connection.redeliver_input();
    if (world.chance(0.1) && connection.pending_output() == 0) connection.send("noise");
    if (!world.chance(0.2)) return;
    connection.pause_reading();
    const auto pause = static_cast<std::int64_t>(world.random(kLongestPause.count()));
    client.timer = client.loop->run_after(Duration(pause), [ref = connection.ref()] {
      ref.post([](TcpConnection& again) { again.resume_reading(); });
    });
  }

  Setting setting_;
  TcpServer server_;
  std::deque<Client> clients_;  // their addresses stay
};

}  // namespace

std::unique_ptr<Part> make_flood(const Setting& setting) {
  return std::make_unique<Flood>(setting);
}

}  // namespace weir::test::simulation
