// Random lives of connectors and clients: connects that work, fail, hang or are interrupted,
// cancelled or destroyed at any moment. Each is reported at most once, and leaves nothing.
#include <gtest/gtest.h>
#include <sys/epoll.h>
#include <sys/socket.h>

#include <array>
#include <cerrno>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <random>
#include <string>
#include <utility>
#include <vector>

#include "support/client_harness.h"
#include "support/echo_server.h"
#include "support/expect_log.h"
#include "support/process_state.h"
#include "support/temp_files.h"
#include "weir/net/tcp/internal/connector.h"

namespace weir::test {
namespace {

using namespace std::chrono_literals;
using internal::Connector;
using State = TcpClient::State;

class Dice {
 public:
  explicit Dice(std::uint32_t seed) : random_(seed) {}
  int operator()(int sides) { return std::uniform_int_distribution<>(0, sides - 1)(random_); }
  bool one_in(int n) { return (*this)(n) == 0; }

 private:
  std::mt19937 random_;
};

constexpr std::array kErrors = {ECONNREFUSED, ENETUNREACH, EADDRNOTAVAIL, EINTR, ENOBUFS};

void random_fault(FaultTable& faults, Dice& dice) {
  const auto n = static_cast<std::uint64_t>(dice(3)) + 1;
  const int error = kErrors.at(static_cast<std::size_t>(dice(kErrors.size())));
  switch (dice(8)) {
    case 0:
      faults.on(Call::connect).nth(n).fail(error);  // EINTR: it never connects, and never says so
      break;
    case 1:
      faults.on(Call::connect).nth(n).do_then_fail(EINTR);
      break;
    case 2:
      faults.on(Call::getsockopt).argument(SO_ERROR).nth(n).give_option(error);
      break;
    case 3:
      faults.on(Call::getpeername).first(n).fail(ENOTCONN);
      break;
    case 4:
      faults.on(Call::socket).nth(n).fail(EMFILE);
      break;
    case 5:
      faults.on(Call::epoll_ctl).argument(EPOLL_CTL_ADD).nth(n).fail(ENOSPC);
      break;
    default:
      break;
  }
}

// --- Connector -----------------------------------------------------------------------------------

class Schedule {
 public:
  Schedule(EventLoop& loop, FaultTable& faults, std::vector<SocketAddress> choice, int seed)
      : loop_(loop), faults_(faults), choice_(std::move(choice)), dice_(std::uint32_t(seed)) {}

  void run() {
    random_fault(faults_, dice_);
    const Duration timeout = dice_.one_in(3) ? 0ms : std::chrono::milliseconds(1 + dice_(40));
    connector_ = std::make_unique<Connector>(loop_, Connector::Options{.timeout = timeout});
    start();
    for (int step = dice_(8); step > 0 && connector_; --step) {
      if (dice_.one_in(2)) run_turn(loop_);
      if (dice_.one_in(3)) faults_.advance_clock(std::chrono::milliseconds(dice_(25)));
      if (dice_.one_in(12)) cancel();
      if (dice_.one_in(24)) destroy();
      if (connector_ && !connector_->running() && dice_.one_in(2)) start();
    }
    finish();
  }

 private:
  void start() {
    std::vector<SocketAddress> addresses;
    for (int i = 1 + dice_(3); i > 0; --i) {
      addresses.push_back(choice_[static_cast<std::size_t>(dice_(int(choice_.size())))]);
    }
    awaited_ = true;
    connector_->start(std::move(addresses), [this](Result<Fd> result) { told(std::move(result)); });
    EXPECT_TRUE(connector_->running());
  }

  void told(Result<Fd> result) {
    EXPECT_TRUE(awaited_) << "told twice, or after it was cancelled";
    awaited_ = false;
    EXPECT_FALSE(connector_->running());
    if (result) {
      // No TIME_WAIT: thousands of these run.
      Socket socket(std::move(*result));
      EXPECT_TRUE(socket.set_linger(0s));
    } else {
      EXPECT_TRUE(result.error().message().starts_with("connect to ")) << result.error().message();
      EXPECT_NE(result.error().code().value(), 0);
    }
    switch (dice_(6)) {
      case 0:
        connector_.reset();
        break;
      case 1:
        connector_->cancel();
        break;
      case 2:
        if (++restarts_ < 4) start();
        break;
      default:
        break;
    }
  }

  void cancel() {
    if (!connector_) return;
    connector_->cancel();
    EXPECT_FALSE(connector_->running());
    awaited_ = false;
  }
  void destroy() {
    connector_.reset();
    awaited_ = false;
  }

  void finish() {
    // A second of looks and 16 tries are the longest that is possible; and three addresses of it.
    for (int i = 0; i < 2000 && awaited_; ++i) {
      if (i > 20) faults_.advance_clock(5ms);
      run_turn(loop_);
    }
    EXPECT_FALSE(awaited_) << "never told";
    if (dice_.one_in(2)) destroy();
    run_turn(loop_);
    if (connector_) {
      EXPECT_FALSE(connector_->running());
    }
    faults_.clear();
  }

  EventLoop& loop_;
  FaultTable& faults_;
  const std::vector<SocketAddress> choice_;
  Dice dice_;
  std::unique_ptr<Connector> connector_;
  bool awaited_ = false;
  int restarts_ = 0;
};

TEST(ConnectSchedule, F47_EachConnectIsToldOnceAndLeavesNothing) {
  constexpr int kSchedules = 20'000;
  ClientHarness tcp;  // for its table, loop and nothing_pending()
  const auto listener = [](const std::string& where) {
    const auto address = SocketAddress::parse(where);
    auto socket = Socket::stream(address->family());
    EXPECT_TRUE(socket->bind(*address));
    EXPECT_TRUE(socket->listen(64));
    return std::move(*socket);
  };
  Socket ip = listener("127.0.0.1:0");
  Socket unix_socket = listener(abstract_address("schedule"));
  const SocketAddress closed = listener("127.0.0.1:0").local_address();
  const std::vector<SocketAddress> choice = {ip.local_address(), ip.local_address(), closed,
                                             unix_socket.local_address(),
                                             *SocketAddress::parse("unix:/nonexistent/socket")};
  const auto before = open_descriptors().size();
  for (int seed = 0; seed < kSchedules; ++seed) {
    SCOPED_TRACE(seed);
    Schedule(tcp.loop, tcp.faults, choice, seed).run();
    for (Socket* socket : {&ip, &unix_socket}) {
      for (auto accepted = socket->accept(); accepted; accepted = socket->accept()) {
        static_cast<void>(accepted->set_linger(0s));
      }
    }
    if (seed % 100 == 0) {
      ASSERT_EQ(open_descriptors().size(), before);
    }
    if (HasFailure()) break;
  }
  EXPECT_EQ(open_descriptors().size(), before);
  EXPECT_TRUE(tcp.nothing_pending());
}

// --- TcpClient -----------------------------------------------------------------------------------

class ClientLife {
 public:
  explicit ClientLife(std::uint32_t seed)
      : dice_(seed),
        tcp_({.connect_timeout = 50ms,
              .reconnect =
                  {.initial = 5ms, .max = 40ms, .attempts = dice_(5), .enabled = !dice_.one_in(3)},
              .trigger = dice_.one_in(2) ? Trigger::edge : Trigger::level}) {
    server_.server.on_open([this](TcpConnection& c) {
      if (dice_.one_in(6)) c.abort();
    });
    address_ = server_.listen();
    const auto act = [this](TcpConnection& c) {
      if (dice_.one_in(8)) c.abort();
      if (dice_.one_in(8)) c.close();
      if (dice_.one_in(6)) step();
    };
    tcp_.on.open = [this, act](TcpConnection& c) {
      EXPECT_EQ(tcp_.client->connection(), c.ref());
      c.send("hello");
      act(c);
    };
    tcp_.on.data = [act](TcpConnection& c, Buffer& in) {
      in.clear();
      act(c);
    };
    tcp_.on.close = [this](TcpConnection&, CloseReason) {
      if (dice_.one_in(4)) step();
    };
    tcp_.on_connect_error = [this](const Error&, int) {
      if (dice_.one_in(4)) step();
    };
  }

  void run() {
    for (int i = 0; i < 60 && tcp_.client; ++i) {
      if (dice_.one_in(8)) tcp_.faults.clear();
      if (dice_.one_in(8)) random_fault(tcp_.faults, dice_);
      if (dice_.one_in(2)) tcp_.faults.advance_clock(std::chrono::milliseconds(dice_(15)));
      step();
      check();
      tcp_.turns(dice_(4));
      if (tcp_.client) check();
    }
    tcp_.faults.clear();
    if (!tcp_.client) return;
    over_ = true;
    tcp_.client->close();
    EXPECT_TRUE(tcp_.until([&] { return tcp_.calls.open == tcp_.calls.close; }));
    const int told = tcp_.calls.open + tcp_.connect_errors;
    const TcpClient::Stats stats = tcp_.client->stats();
    EXPECT_EQ(stats.opened, static_cast<std::uint64_t>(tcp_.calls.open));
    EXPECT_EQ(stats.failures, static_cast<std::uint64_t>(tcp_.connect_errors));
    EXPECT_GE(stats.attempts, static_cast<std::uint64_t>(told));
    tcp_.faults.advance_clock(1min);
    tcp_.turns(3);
    EXPECT_EQ(told, tcp_.calls.open + tcp_.connect_errors);
  }

 private:
  void step() {
    if (!tcp_.client || over_) return;
    switch (dice_(10)) {
      case 0:
        tcp_.client->close();
        EXPECT_EQ(tcp_.client->state(), State::idle);
        break;
      case 1:
        if (dice_.one_in(6)) tcp_.client.reset();
        break;
      case 2:
        tcp_.client->connection().abort();
        break;
      default: {
        const bool idle = tcp_.client->state() == State::idle;
        EXPECT_EQ(tcp_.client->connect(address_).has_value(), idle);
        break;
      }
    }
  }
  void check() {
    if (!tcp_.client) return;
    const bool connected = tcp_.client->state() == State::connected;
    EXPECT_EQ(tcp_.client->connection().get() != nullptr, connected);
    EXPECT_GE(tcp_.calls.open, tcp_.calls.close);
  }

  Dice dice_;
  ClientHarness tcp_;
  EchoServer server_{tcp_.loop};
  SocketAddress address_;
  bool over_ = false;
};

TEST(ConnectSchedule, F47_AClientMayBeToldAnythingAtAnyTime) {
  const AllowLog watch("watch ");  // when epoll refuses
  const AllowLog accept("accept on ");
  for (std::uint32_t seed = 0; seed < 400; ++seed) {
    SCOPED_TRACE(seed);
    ClientLife(seed).run();
    if (HasFailure()) break;
  }
}

// --- a thousand clients --------------------------------------------------------------------------

TEST(ConnectSchedule, F48_AThousandClientsDoNotComeBackAtOnce) {
  constexpr int kClients = 1000;
  constexpr Duration kStep = 20ms;
  constexpr int kDown = 60s / kStep;
  FaultTable faults;
  const ScopedFaults use(faults);
  EventLoop loop;
  EchoServer server(loop);
  const SocketAddress address = server.listen();
  std::vector<std::unique_ptr<TcpClient>> clients;
  std::vector<int> failures(kClients);
  int opened = 0;
  for (int i = 0; i < kClients; ++i) {
    clients.push_back(
        std::make_unique<TcpClient>(loop, TcpClient::Options{.reconnect = TcpClient::Reconnect{}}));
    clients.back()->on_connect_error(
        [&failures, i](const Error&, int) { ++failures[static_cast<std::size_t>(i)]; });
    clients.back()->on_open([&opened](TcpConnection& c) {
      ++opened;
      c.abort();  // descriptors for a thousand pairs are not everywhere
    });
  }
  faults.on(Call::connect).fail(ECONNREFUSED);
  for (const auto& client : clients) ASSERT_TRUE(client->connect(address));
  std::vector<std::uint64_t> attempts;  // in each step
  for (int i = 0; i < kDown; ++i) {
    const std::uint64_t before = faults.count(Call::connect);
    faults.advance_clock(kStep);
    run_turn(loop);
    attempts.push_back(faults.count(Call::connect) - before);
  }
  for (const int n : failures) {
    EXPECT_GE(n, 8);   // 0.1 + 0.2 + ... + 25.6 s is less than the minute
    EXPECT_LE(n, 14);  // and half of each wait is the least
  }
  // In the beginning they are together; after ten seconds none of the 20 ms has 50 of them.
  for (std::size_t i = 10s / kStep; i < attempts.size(); ++i) EXPECT_LT(attempts[i], 50u) << i;

  faults.clear();  // the server is back
  for (int i = 0; i < 31s / kStep && opened < kClients; ++i) {
    faults.advance_clock(kStep);
    run_turn(loop);
    run_turn(loop);
  }
  EXPECT_TRUE(run_until(loop, [&] { return opened == kClients; }));
  clients.clear();
  EXPECT_TRUE(run_until(loop, [&] { return server.server.connection_count() == 0; }));
}

}  // namespace
}  // namespace weir::test
