// Datagrams to a server that returns them; lost ones are sent again.
#include <algorithm>
#include <chrono>
#include <deque>
#include <set>

#include "sim/part.h"
#include "weir/net/udp/udp_socket.h"

namespace weir::test::simulation {
namespace {

constexpr Duration kRetry = std::chrono::milliseconds(50);
constexpr int kMostRetries = 200;  // 10 s, longer than a partition

class Datagrams final : public Part {
 public:
  explicit Datagrams(Setting setting) : setting_(std::move(setting)), server_(setting_.any_loop()) {
    server_.on_datagrams([](UdpSocket& socket, std::span<const Datagram> batch) {
      for (const Datagram& each : batch) socket.reply(each, each.payload);
    });
    const auto address = server_.bind(fmt::format("127.0.0.1:{}", 9000 + setting_.number));
    setting_.verdict.expect(address.has_value(), "datagrams: bind failed");
    for (std::size_t i = 0; address && i < setting_.plan.clients; ++i) start(*address);
  }

  ~Datagrams() override {
    for (Client& client : clients_) client.loop->cancel(client.timer);
  }

  bool done() override {
    for (const Client& client : clients_) {
      if (waits(client) && client.retries < kMostRetries) return false;
    }
    return true;
  }

  void check() override {
    expect_report(server_);
    for (const Client& client : clients_) {
      setting_.verdict.expect(client.wrong == 0, "datagrams: {} answers are wrong", client.wrong);
      expect_report(*client.socket);
      setting_.verdict.expect(!waits(client), "datagrams: some of {} answers never came",
                              client.missing.size());
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

  // Only epoll closes a socket, if it refuses to watch it.
  void expect_report(const UdpSocket& socket) const {
    setting_.verdict.expect(socket.is_open() || socket.stats().errors > 0,
                            "datagrams: a socket was closed without a report");
  }

  // An answer that must come: the buffers hold it, so one of many tries is not lost.
  bool waits(const Client& client) const {
    if (!server_.is_open() || !client.socket->is_open()) return false;
    const sim::Faults& faults = setting_.world.faults();
    const std::size_t most = std::min(faults.send_buffer, faults.receive_buffer);
    return std::ranges::any_of(client.missing,
                               [most](const std::string& each) { return each.size() <= most; });
  }

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
    const auto connected = client.socket->connect(address);
    setting_.verdict.expect(connected.has_value(), "datagrams: connect failed");
    if (!connected) return;
    send(client);
    client.timer = client.loop->run_every(kRetry, [this, &client] {
      if (!waits(client) || client.retries == kMostRetries) return;
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
