// Clients that stop: each deadline of the server ends its connection, not too early and not late.
#include <array>
#include <chrono>
#include <deque>

#include "sim/options.h"
#include "sim/part.h"
#include "weir/net/tcp/tcp_client.h"
#include "weir/net/tcp/tcp_server.h"

namespace weir::test::simulation {
namespace {

using namespace std::chrono_literals;
using Kind = CloseReason::Kind;

// Deadlines count from the start of the turn in which something happened.
constexpr Duration kTurn = 1ms;
// A deadline is late by a few ticks of the wheel, and by at most a fifteenth of its time.
constexpr Duration kLate = 50ms;
// A client that has stopped reading reads on, long after the server has ended the connection: what
// a Unix socket had received before is still its.
constexpr Duration kResume = 10s;

class Silence final : public Part {
 public:
  explicit Silence(Setting setting)
      : setting_(std::move(setting)),
        how_(kHows[setting_.world.random(kHows.size())]),
        timeout_(Duration(20ms) +
                 Duration(static_cast<std::int64_t>(setting_.world.random(Duration(2s).count())))),
        server_(setting_.any_loop(), with_deadline()) {
    server_.on_open([this](TcpConnection& connection) { opened(connection); });
    server_.on_data([this](TcpConnection& connection, Buffer& in) { received(connection, in); });
    close_after_peer(server_);
    server_.on_timeout([this](TcpConnection& connection, Kind kind) {
      timed_out(connection, kind);
      return false;
    });
    server_.on_close([this](TcpConnection& connection, CloseReason reason) {
      if (reason.kind == Kind::write_stall) timed_out(connection, reason.kind);
      const bool fault = reason.kind == Kind::io_error || reason.kind == Kind::reset;
      if (reason.kind != how_.kind && !fault) ++other_ends_;
    });
    serve_clients(server_, setting_, [this](const SocketAddress& address) { start(address); });
  }

  ~Silence() override {
    for (Client& client : clients_) client.loop->cancel(client.timer);
  }

  bool done() override { return all_ended(clients_, server_); }
  void check() override {
    const bool client_fault = std::ranges::any_of(clients_, [](const Client& client) {
      return client.life.faulty() || !client.life.was_opened();
    });
    setting_.verdict.expect(other_ends_ == 0 || client_fault,
                            "silence: {} connections ended without a fault or a deadline",
                            other_ends_);
  }

 private:
  using Options = TcpServer::Options;
  // A reason to close, and the option that sets its time.
  struct How {
    Kind kind;
    Duration Options::*timeout;
  };
  static constexpr std::array kHows{How{Kind::idle_timeout, &Options::idle_timeout},
                                    How{Kind::read_idle_timeout, &Options::read_idle_timeout},
                                    How{Kind::first_byte_timeout, &Options::first_byte_timeout},
                                    How{Kind::message_timeout, &Options::message_timeout},
                                    How{Kind::write_stall, &Options::write_stall_timeout}};

  struct Client {
    Lifecycle life;
    std::size_t left = 0;  // messages before the silence
    EventLoop* loop = nullptr;
    TimerId timer;
    std::unique_ptr<TcpClient> tcp;
  };
  // Of a connection of the server: since when its deadline runs, in the time of the world.
  struct Since {
    Duration time;
    bool message_begun = false;
  };

  Options with_deadline() {
    auto options = draw_options<Options>(setting_.world);
    options.*how_.timeout = timeout_;
    return options;
  }

  Duration now() const { return setting_.world.elapsed(); }

  void opened(TcpConnection& connection) {
    connection.set_context<Since>(now());
    // More than all buffers on the way take, so the rest waits when they are full.
    if (how_.kind == Kind::write_stall) connection.send(std::string(1024 * 1024, 'x'));
    if (how_.kind == Kind::read_idle_timeout) keep_speaking(connection.ref());
  }

  // What the server sends does not count. Ends with the connection.
  void keep_speaking(const ConnectionRef& ref) {
    TcpConnection* const connection = ref.get();
    if (connection == nullptr) return;
    connection->send(".");
    connection->loop().run_after(timeout_ / 3, [this, ref] { keep_speaking(ref); });
  }

  void received(TcpConnection& connection, Buffer& in) {
    Since& since = *connection.context<Since>();
    if (how_.kind == Kind::message_timeout) {  // it waits for the rest of a message
      if (std::exchange(since.message_begun, true)) return;
    } else {
      in.clear();
    }
    since.time = now();
  }

  void timed_out(TcpConnection& connection, Kind kind) {
    Verdict& verdict = setting_.verdict;
    const std::string name = CloseReason{.kind = kind, .error = {}}.to_string();
    verdict.expect(kind == how_.kind, "silence: {} although that is not set", name);
    const Duration after = now() - connection.context<Since>()->time;
    verdict.expect(after >= timeout_ - kTurn, "silence: {} after {} instead of {} ns", name,
                   after.count(), timeout_.count());
    if (how_.kind == Kind::write_stall) return;  // it began when the buffers were full
    // A send without memory stops reading for a while, and then the deadline restarts.
    const bool restarts = setting_.world.faults().no_buffers > 0;
    if (how_.kind == Kind::read_idle_timeout && restarts) return;
    verdict.expect(after <= timeout_ + timeout_ / 15 + kLate, "silence: {} after {}, not {} ns",
                   name, after.count(), timeout_.count());
  }

  void start(const SocketAddress& address) {
    sim::World& world = setting_.world;
    Client& client = clients_.emplace_back();
    client.loop = &setting_.any_loop();
    client.left = how_.kind == Kind::first_byte_timeout ? 0 : setting_.plan.messages;
    client.tcp = std::make_unique<TcpClient>(*client.loop, draw_options<TcpClient::Options>(world));
    client.tcp->on_open([this, &client](TcpConnection& connection) {
      client.life.opened(setting_.verdict, "silent client");
      if (how_.kind == Kind::write_stall) {
        connection.pause_reading();
        client.timer = client.loop->run_after(kResume, [ref = connection.ref()] {
          ref.post([](TcpConnection& again) { again.resume_reading(); });
        });
      } else {
        speak(client, connection.ref());
      }
    });
    client.tcp->on_data([](TcpConnection&, Buffer& in) { in.clear(); });
    close_after_peer(*client.tcp);
    connect(*client.tcp, address, client.life, setting_.verdict, "silent client");
  }

  // Often enough to keep the connection, and then no more. A message that trickles goes on.
  void speak(Client& client, const ConnectionRef& ref) {
    if (client.left == 0) return;
    if (how_.kind != Kind::message_timeout) --client.left;
    ref.post([](TcpConnection& connection) { connection.send("x"); });
    const auto most = static_cast<std::uint64_t>((timeout_ / 2).count());
    const Duration pause(static_cast<std::int64_t>(setting_.world.random(most)));
    client.timer = client.loop->run_after(pause, [this, &client, ref] {
      if (client.life.is_open()) speak(client, ref);
    });
  }

  Setting setting_;
  const How how_;
  const Duration timeout_;
  TcpServer server_;
  std::deque<Client> clients_;  // their addresses stay
  int other_ends_ = 0;
};

}  // namespace

std::unique_ptr<Part> make_silence(const Setting& setting) {
  return std::make_unique<Silence>(setting);
}

}  // namespace weir::test::simulation
