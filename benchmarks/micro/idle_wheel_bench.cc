// The coarse deadlines of connections: the cost for a message and for an idle connection.
#include <cstdint>
#include <memory>

#include "bench.h"
#include "weir/net/reactor/internal/idle_wheel.h"
#include "weir/net/reactor/loop_client.h"

namespace weir::bench {
namespace {

using internal::IdleWheel;
using internal::Tick;
using std::chrono::seconds;

constexpr auto kTimeout = seconds(60);

// Behaves like a connection: a message stores the tick, and when the bucket expires, the connection
// is scheduled again for the remaining time.
class Client final : public internal::DeadlineClient {
 public:
  IdleWheel* wheel = nullptr;
  Tick last_activity = 0;
  const Tick* now = nullptr;
  std::int64_t* fired = nullptr;

  void on_deadline() override {
    ++*fired;
    const Tick due = last_activity + internal::ticks_of(kTimeout);
    if (internal::tick_reached(due, *now)) last_activity = *now;  // timed out: kept for the test
    wheel->schedule(*this, last_activity + internal::ticks_of(kTimeout));
  }
  void on_reap() override {}
};

struct Clients {
  TimePoint time{seconds(1000)};
  Tick now = internal::tick_of(time);
  std::int64_t fired = 0;
  IdleWheel wheel{time};
  std::size_t count;
  std::unique_ptr<Client[]> all;

  explicit Clients(std::int64_t n)
      : count(static_cast<std::size_t>(n)), all(std::make_unique<Client[]>(count)) {
    auto random = random_numbers();
    for (std::size_t i = 0; i < count; ++i) {
      Client& client = all[i];
      client.wheel = &wheel;
      client.now = &now;
      client.fired = &fired;
      client.last_activity = now;
      // The connections began at different times.
      const Duration ahead = std::chrono::milliseconds(random() % 60'000);
      wheel.schedule(client, now + internal::ticks_of(ahead));
    }
  }
  Clients(const Clients&) = delete;
  Clients& operator=(const Clients&) = delete;
  ~Clients() = default;

  void go_on(Duration step) {
    time += step;
    now = internal::tick_of(time);
    do {
      wheel.expire(time);
    } while (wheel.next() == TimePoint::min());
  }
};

// One message on each connection in turn.
void idle_touch(benchmark::State& state) {
  Clients clients(state.range(0));
  std::size_t at = 0;
  Report report(state);
  for (auto _ : state) {
    clients.all[at].last_activity = clients.now;
    benchmark::ClobberMemory();
    at = at + 1 < clients.count ? at + 1 : 0;
  }
  report.done(state.iterations());
}
BENCHMARK(idle_touch)->ArgName("connections")->Arg(100)->Arg(10000);

// Moves a client from one bucket to another.
void idle_schedule(benchmark::State& state) {
  Clients clients(state.range(0));
  std::size_t at = 0;
  Tick ahead = 0;
  Report report(state);
  for (auto _ : state) {
    clients.wheel.schedule(clients.all[at], clients.now + 1 + ahead);
    ahead = (ahead + 7) & 0x1fff;
    at = at + 1 < clients.count ? at + 1 : 0;
  }
  report.done(state.iterations());
}
BENCHMARK(idle_schedule)->ArgName("connections")->Arg(100)->Arg(10000);

// A quarter of a second passes; clients whose bucket expires are scheduled again. An item is such a
// client.
void idle_expire(benchmark::State& state) {
  Clients clients(state.range(0));
  Report report(state);
  for (auto _ : state) clients.go_on(std::chrono::milliseconds(250));
  report.done(clients.fired);
}
BENCHMARK(idle_expire)->ArgName("connections")->Arg(10000)->Arg(100000);

}  // namespace
}  // namespace weir::bench
