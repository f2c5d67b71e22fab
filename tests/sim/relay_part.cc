// Clients talk through a proxy, which relays to a server that returns everything.
#include <deque>

#include "sim/options.h"
#include "sim/part.h"
#include "weir/net/route/relay.h"
#include "weir/net/tcp/tcp_client.h"
#include "weir/net/tcp/tcp_server.h"

namespace weir::test::simulation {
namespace {

class Relay final : public Part {
 public:
  explicit Relay(Setting setting)
      : setting_(std::move(setting)),
        proxy_loop_(setting_.any_loop()),
        server_(setting_.any_loop(), half_open()),
        proxy_(proxy_loop_, half_open()) {
    server_.on_data([](TcpConnection& connection, Buffer& in) { connection.send(in); });
    server_.on_half_close([](TcpConnection& connection) { connection.close(); });
    proxy_.on_open([this](TcpConnection& connection) { lead_on(connection); });
    const auto target = server_.listen(fmt::format("127.0.0.1:{}", 8000 + setting_.number));
    const auto address = proxy_.listen(setting_.address());
    setting_.verdict.expect(target && address, "relay: listen failed");
    if (!target || !address) return;
    target_ = *target;
    for (std::size_t i = 0; i < setting_.plan.clients; ++i) start(*address);
  }

  bool done() override {
    return all_ended(clients_, server_) && proxy_.stats().connections == 0 &&
           relays_done_ == relays_;
  }

  void check() override {
    Verdict& verdict = setting_.verdict;
    for (const Client& client : clients_) {
      verdict.expect(client.flow.correct(), "relay: byte {} came back wrong", client.flow.taken());
      const bool whole = !faulty_ && client.life.reason() == CloseReason::Kind::peer_eof;
      verdict.expect(!whole || client.flow.complete(), "relay: {} of {} bytes came back",
                     client.flow.taken(), client.flow.made());
    }
  }

 private:
  struct Client {
    explicit Client(std::uint64_t number) : flow(number) {}
    Flow flow;
    Lifecycle life;
    std::size_t left = 0;
    std::unique_ptr<TcpClient> tcp;
  };

  template <typename Options = TcpServer::Options>
  Options half_open() {
    Options options = draw_options<Options>(setting_.world);
    options.allow_half_open = true;
    return options;
  }

  // The proxy does not read before the far side is open.
  void lead_on(TcpConnection& near) {
    near.pause_reading();
    TcpClient& far = *far_.emplace_back(
        std::make_unique<TcpClient>(proxy_loop_, half_open<TcpClient::Options>()));
    far.on_open([this, ref = near.ref()](TcpConnection& connection) {
      TcpConnection* const other = ref.get();
      if (other == nullptr) {
        connection.abort();
        return;
      }
      other->resume_reading();
      RelayOptions options;
      options.path = static_cast<RelayOptions::Path>(setting_.world.random(3));
      ++relays_;
      relay(*other, connection, options, [this](const RelayResult& result) {
        ++relays_done_;
        faulty_ |= result.a.kind != CloseReason::Kind::peer_eof ||
                   result.b.kind != CloseReason::Kind::peer_eof;
      });
    });
    far.on_connect_error([this, ref = near.ref()](const Error&, int) {
      faulty_ = true;
      ref.post([](TcpConnection& connection) { connection.abort(); });
    });
    far.on_close([this](TcpConnection&, CloseReason) { faulty_ = true; });
    const auto begun = far.connect(target_);
    setting_.verdict.expect(begun.has_value(), "relay: connect failed");
  }

  void start(const SocketAddress& address) {
    Client& client = clients_.emplace_back(setting_.number * 100 + clients_.size());
    client.left = setting_.plan.messages;
    client.tcp = std::make_unique<TcpClient>(setting_.any_loop(), half_open<TcpClient::Options>());
    client.tcp->on_open([this, &client](TcpConnection& connection) {
      client.life.opened(setting_.verdict, "relay client");
      talk(client, connection);
    });
    client.tcp->on_data([this, &client](TcpConnection& connection, Buffer& in) {
      client.flow.take(in.view());
      in.clear();
      if (client.flow.complete()) talk(client, connection);
    });
    client.tcp->on_half_close([](TcpConnection& connection) { connection.close(); });
    connect(*client.tcp, address, client.life, setting_.verdict, "relay client");
  }

  void talk(Client& client, TcpConnection& connection) {
    if (client.left == 0) {
      connection.shutdown();
      return;
    }
    --client.left;
    connection.send(client.flow.next(setting_.size()));
  }

  Setting setting_;
  EventLoop& proxy_loop_;
  SocketAddress target_;
  TcpServer server_;
  std::vector<std::unique_ptr<TcpClient>> far_;  // destroyed after the proxy
  TcpServer proxy_;
  std::deque<Client> clients_;  // their addresses stay
  std::size_t relays_ = 0;
  std::size_t relays_done_ = 0;
  bool faulty_ = false;
};

}  // namespace

std::unique_ptr<Part> make_relay(const Setting& setting) {
  return std::make_unique<Relay>(setting);
}

}  // namespace weir::test::simulation
