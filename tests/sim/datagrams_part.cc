// Datagrams to a server that returns them; lost ones are sent again.
#include <chrono>
#include <deque>
#include <set>

#include "sim/part.h"
#include "weir/net/udp/udp_socket.h"

namespace weir::test::simulation {
namespace {

constexpr Duration kRetry = std::chrono::milliseconds(20);
constexpr int kMostRetries = 60;  // then the network loses too much

class Datagrams final : public Part {
 public:
  explicit Datagrams(Setting setting) : setting_(std::move(setting)), server_(setting_.any_loop()) {
    server_.on_datagrams([](UdpSocket& socket, std::span<const Datagram> batch) {
      for (const Datagram& each : batch) socket.reply(each, each.payload);
    });
    const auto address = server_.bind("127.0.0.1:9000");
    for (std::size_t i = 0; address && i < setting_.plan.clients; ++i) start(*address);
  }

  ~Datagrams() override {
    for (Client& client : clients_) client.loop->cancel(client.timer);
  }

  bool done() override {
    for (const Client& client : clients_) {
      if (!client.missing.empty() && client.retries < kMostRetries) return false;
    }
    return true;
  }

  void check() override {
    for (const Client& client : clients_) {
      setting_.verdict.expect(client.wrong == 0, "datagrams: {} answers are wrong", client.wrong);
    }
  }

 private:
  struct Client {
    std::set<std::string> sent;
    std::set<std::string> missing;
    std::size_t wrong = 0;
    int retries = 0;
    EventLoop* loop = nullptr;
    TimerId timer;
    std::unique_ptr<UdpSocket> socket;
  };

  void start(const SocketAddress& address) {
    Client& client = clients_.emplace_back();
    client.loop = &setting_.any_loop();
    for (std::size_t i = 0; i < 4 * setting_.plan.messages; ++i) {
      std::string text = fmt::format("{}.{}.{}:", setting_.number, clients_.size(), i);
      text.resize(text.size() + setting_.world.random(1200), 'd');
      client.sent.insert(text);
    }
    client.missing = client.sent;
    client.socket = std::make_unique<UdpSocket>(*client.loop);
    client.socket->on_datagrams([&client](UdpSocket&, std::span<const Datagram> batch) {
      for (const Datagram& each : batch) {
        const std::string text(reinterpret_cast<const char*>(each.payload.data()),
                               each.payload.size());
        if (!client.sent.contains(text)) ++client.wrong;
        client.missing.erase(text);
      }
    });
    if (!client.socket->connect(address)) {
      client.missing.clear();
      return;
    }
    send(client);
    client.timer = client.loop->run_every(kRetry, [this, &client] {
      if (client.missing.empty() || client.retries == kMostRetries) return;
      ++client.retries;
      send(client);
    });
  }

  void send(Client& client) {
    for (const std::string& text : client.missing) client.socket->send(text);
  }

  Setting setting_;
  UdpSocket server_;
  std::deque<Client> clients_;  // their addresses stay
};

}  // namespace

std::unique_ptr<Part> make_datagrams(const Setting& setting) {
  return std::make_unique<Datagrams>(setting);
}

}  // namespace weir::test::simulation
