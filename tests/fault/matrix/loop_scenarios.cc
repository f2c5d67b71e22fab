// The loop and what stands directly on it: timers, posts of other threads, signals, a loop inside
// another one, and datagrams.
#include <unistd.h>

#include <array>
#include <cerrno>
#include <csignal>
#include <memory>
#include <optional>
#include <string>
#include <thread>
#include <vector>

#include "scenario.h"
#include "support/temp_files.h"
#include "weir/net/reactor/signal_set.h"
#include "weir/net/udp/udp_socket.h"

namespace weir::test::matrix {
namespace {

using namespace std::chrono_literals;

void timers(Stage& stage) {
  EventLoop loop;
  const Duration start = stage.table().elapsed();
  const auto since = [&] { return stage.table().elapsed() - start; };
  int repeated = 0;
  std::vector<int> order;
  order.reserve(2);
  const TimerId cancelled = loop.run_after(15ms, [&] { stage.violation("a cancelled timer ran"); });
  loop.run_after(20ms, [&] {
    stage.check(since() >= 20ms && since() < 21ms, "a timer of 20 ms ran at another time");
    order.push_back(2);
  });
  loop.run_after(10ms, [&] {
    stage.check(since() >= 10ms && since() < 11ms, "a timer of 10 ms ran at another time");
    order.push_back(1);
    loop.cancel(cancelled);
  });
  const TimerId every = loop.run_every(7ms, [&] { ++repeated; });
  stage.until(loop, "the timers", [&] { return order.size() == 2 && repeated >= 10; });
  stage.check(since() >= 70ms && since() < 71ms, "ten repetitions of 7 ms took another time");
  stage.check(order == std::vector{1, 2}, "timers ran in the wrong order");
  stage.check(loop.cancel(every), "a repeating timer could not be cancelled");
  stage.complete(true);
}

// Runs `act` on another thread, with the same system calls.
void elsewhere(Stage& stage, const std::function<void()>& act) {
  const SpareAllocations of_the_test;
  std::thread([&] {
    const ScopedFaults use(stage.table());
    act();
  }).join();
}

// Another thread posts while the loop sleeps, sends on a connection, and stops the loop.
void posting(Stage& stage) {
  Net net(stage);
  net.at_server.data = echo_back;
  std::vector<int> ran;
  ran.reserve(9);
  net.at_client.expect("hello");
  net.start();
  net.until("the connection", [&] { return net.at_client.opens > 0 || net.client_ended(); });
  for (int burst = 0; burst < 3; ++burst) {
    stage.table().while_waiting([&stage, &net, &ran, burst] {
      elsewhere(stage, [&] {
        for (int i = 0; i < 3; ++i) {
          stage.check(net.loop.post([&ran, burst, i] { ran.push_back(3 * burst + i); }),
                      "a living loop refused a task");
        }
      });
    });
  }
  stage.table().while_waiting(
      [&stage, ref = net.at_client.ref] { elsewhere(stage, [&] { ref.send("hello"); }); });
  net.until("the tasks", [&] { return ran.size() == 9; });
  for (int i = 0; i < 9; ++i) {
    stage.check(ran[static_cast<std::size_t>(i)] == i, "tasks of one thread changed their order");
  }
  net.until_answered();
  stage.complete(net.at_client.has_all());
  net.serve_another();
  net.end();
}

// A signal of this process, which the loop gets by a descriptor.
void signals(Stage& stage) {
  EventLoop loop;
  int caught = 0;
  {
    SignalSet set(loop, {SIGUSR1, SIGUSR2}, [&](int) { ++caught; });
    stage.turns(loop, 1);
    ::kill(::getpid(), SIGUSR1);
    ::kill(::getpid(), SIGUSR2);
    stage.until(loop, "the signals", [&] { return caught == 2 || !stage.reports().empty(); });
    stage.complete(caught == 2);
    // Nothing is pending when the set unblocks them, or the process would end.
    std::signal(SIGUSR1, SIG_IGN);
    std::signal(SIGUSR2, SIG_IGN);
  }
}

// The loop runs inside another one, which polls its descriptor.
void embedded(Stage& stage) {
  Net net(stage);
  net.at_server.data = echo_back;
  net.at_client.expect("hello");
  net.at_client.open = [](TcpConnection& c) { c.send("hello"); };
  static_cast<void>(net.loop.poll_fd());
  net.start();
  net.until_answered();
  stage.complete(net.at_client.has_all());
  net.serve_another();
  net.end();
}

// Two sockets that notice all that is reported to them.
struct Datagrams {
  explicit Datagrams(Stage& on, const UdpSocket::Options& options = {}) : stage(on) {
    for (auto* socket : {&first, &second}) {
      socket->emplace(loop, options);
      (*socket)->on_send_failed([this](UdpSocket&, const FailedDatagram& failure) {
        stage.report("a datagram", failure.error);
      });
      (*socket)->on_error([this](UdpSocket&, Errno error) { stage.report("a socket", error); });
    }
    first->on_datagrams([](UdpSocket& udp, std::span<const Datagram> batch) {
      for (const Datagram& one : batch) udp.reply(one, one.payload);
    });
    second->on_datagrams([this](UdpSocket&, std::span<const Datagram> batch) {
      const SpareAllocations of_the_test;
      for (const Datagram& one : batch) {
        received.emplace_back(one.text());
        stage.check(received.back() == bytes(received.back().size()), "a datagram was changed");
      }
    });
  }

  // Waits for the echoes, for a limited time: a datagram that failed was reported.
  void until_echoed(std::size_t count) {
    const Duration end = stage.table().elapsed() + 20s;
    const TimerId wake = loop.run_every(1s, [] {});
    stage.until(loop, "the echoes", [&] {
      return received.size() >= count || stage.table().elapsed() >= end || !second->is_open();
    });
    loop.cancel(wake);
    stage.complete(received.size() == count);
    stage.check(received.size() <= count, "a datagram came twice");
  }
  // After the fault: an echo, if both sockets are open still. (A datagram may be lost on the way of
  // one that failed before, so several are sent.)
  void echo_another(const SocketAddress& to) {
    if (stage.hits() == 0) return;
    stage.end_fault();
    if (!first->is_open() || !second->is_open()) return;
    received.clear();
    const TimerId every = loop.run_every(1s, [&] { second->send_to(to, bytes(50)); });
    const Duration end = stage.table().elapsed() + 30s;
    stage.until(loop, "another echo",
                [&] { return !received.empty() || stage.table().elapsed() >= end; });
    loop.cancel(every);
    if (received.empty()) stage.violation("no datagram passes after the fault");
  }
  void end() {
    first.reset();
    second.reset();
    stage.turns(loop, 2);
  }

  Stage& stage;
  EventLoop loop;
  std::optional<UdpSocket> first;  // echoes
  std::optional<UdpSocket> second;
  std::vector<std::string> received;
};

void udp(Stage& stage) {
  Datagrams both(stage, {.packet_info = true, .receive_buffer = 100'000, .send_buffer = 100'000});
  const SocketAddress to = stage.need("bind", both.first->bind("127.0.0.1:0"));
  stage.need("bind", both.second->bind("127.0.0.1:0"));
  const std::array<std::size_t, 8> sizes{10, 700, 700, 700, 100, 0, 9000, 1};
  for (const std::size_t size : sizes) both.second->send_to(to, bytes(size));
  both.until_echoed(sizes.size());
  both.echo_another(to);
  both.end();
}

// The client is connected, so that it learns of ICMP errors.
void udp_connected(Stage& stage) {
  Datagrams both(stage, {.coalesce = true});
  const SocketAddress to = stage.need("bind", both.first->bind("127.0.0.1:0"));
  stage.need("connect", both.second->connect(to));
  for (int round = 0; round < 3; ++round) {
    both.second->send(bytes(300));
    both.second->send(bytes(300));
    stage.turns(both.loop, 2);
  }
  both.until_echoed(6);
  both.echo_another(to);
  both.end();
}

void udp_unix(Stage& stage) {
  const TempFolder folder;
  Datagrams both(stage);
  const SocketAddress to = stage.need("bind", both.first->bind(folder.address("first")));
  stage.need("bind", both.second->bind(folder.address("second")));
  for (int i = 0; i < 5; ++i) both.second->send_to(to, bytes(200));
  both.until_echoed(5);
  both.echo_another(to);
  both.end();
}

constexpr std::array kOfUnix{EADDRINUSE};  // a file that cannot be examined

constexpr std::array kScenarios = {
    Scenario{"timers", timers, false},
    Scenario{"posting", posting},
    Scenario{"signals", signals, false},
    Scenario{"embedded", embedded},
    Scenario{"udp", udp, false},
    Scenario{"udp_connected", udp_connected, false},
    Scenario{"udp_unix", udp_unix, false, kOfUnix},
};

}  // namespace

const std::span<const Scenario> loop_scenarios = kScenarios;

}  // namespace weir::test::matrix
