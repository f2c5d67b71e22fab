#include "weir/net/reactor/internal/idle_wheel.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <chrono>
#include <functional>
#include <memory>
#include <random>
#include <vector>

namespace weir::test {
namespace {

using namespace std::chrono_literals;
using internal::DeadlineClient;
using internal::IdleWheel;
using internal::Tick;

constexpr TimePoint kStart{std::chrono::hours(1000)};

constexpr TimePoint time_of(std::uint64_t tick) {
  return TimePoint(Duration(static_cast<std::int64_t>(tick << internal::kTickShift)));
}
constexpr std::uint64_t full(TimePoint t) {
  return static_cast<std::uint64_t>(t.time_since_epoch().count()) >> internal::kTickShift;
}

class Client final : public DeadlineClient {
 public:
  std::function<void()> expired;
  int calls = 0;
  std::uint64_t deadline = 0;  // of the model
  std::uint64_t set_at = 0;

 private:
  void on_deadline() override {
    ++calls;
    if (expired) expired();
  }
  void on_reap() override {}
};

// How late a deadline may come: a bucket of the level that reaches it.
std::uint64_t lateness(std::uint64_t ahead) { return ahead / 15 + 1; }

TEST(IdleWheel, TicksRoundUpAndAreCut) {
  EXPECT_EQ(internal::ticks_of(0ns), 1u);
  EXPECT_EQ(internal::ticks_of(-5s), 1u);
  EXPECT_EQ(internal::ticks_of(1ns), 2u);
  const Duration tick(std::int64_t{1} << internal::kTickShift);
  EXPECT_GE(internal::ticks_of(10 * tick), 11u);
  EXPECT_LE(internal::ticks_of(10 * tick), 12u);
  EXPECT_LE(internal::ticks_of(Duration::max()), 0x7fffffffu);
  EXPECT_TRUE(internal::tick_reached(5, 5));
  EXPECT_TRUE(internal::tick_reached(0xfffffff0u, 3)) << "across the wrap";
  EXPECT_FALSE(internal::tick_reached(3, 0xfffffff0u));
}

TEST(IdleWheel, FiresOnceNeverEarlyAndIsEmptyThen) {
  IdleWheel wheel(kStart);
  EXPECT_EQ(wheel.next(), std::nullopt);
  Client client;
  const std::uint64_t now = full(kStart);
  for (const std::uint64_t ahead : {1u, 2u, 63u, 64u, 65u, 300u, 5000u, 100'000u}) {
    IdleWheel fresh(kStart);
    client.calls = 0;
    fresh.schedule(client, static_cast<Tick>(now + ahead));
    const auto next = fresh.next();
    ASSERT_TRUE(next);
    EXPECT_GE(*next, time_of(now + ahead));
    EXPECT_LE(*next, time_of(now + ahead + lateness(ahead)));
    fresh.expire(*next - 1ns);
    EXPECT_EQ(client.calls, 0) << ahead;
    fresh.expire(*next);
    EXPECT_EQ(client.calls, 1) << ahead;
    EXPECT_EQ(fresh.next(), std::nullopt);
  }
}

TEST(IdleWheel, CancelAndRescheduleReplace) {
  IdleWheel wheel(kStart);
  Client client;
  const auto now = static_cast<Tick>(full(kStart));
  wheel.schedule(client, now + 10);
  wheel.cancel(client);
  wheel.cancel(client);
  wheel.expire(kStart + 10s);
  EXPECT_EQ(client.calls, 0);
  EXPECT_EQ(wheel.next(), std::nullopt) << "a cancelled deadline is forgotten once it has passed";

  const auto later = static_cast<Tick>(full(kStart + 10s));
  wheel.schedule(client, later + 10);
  wheel.schedule(client, later + 1000);
  wheel.expire(kStart + 10s + 1s);
  EXPECT_EQ(client.calls, 0);
  wheel.expire(kStart + 30s);
  EXPECT_EQ(client.calls, 1);
}

TEST(IdleWheel, PassedDeadlinesComeWithTheNextTick) {
  IdleWheel wheel(kStart);
  Client client;
  wheel.schedule(client, static_cast<Tick>(full(kStart)) - 100);
  EXPECT_EQ(client.calls, 0) << "never from inside schedule()";
  wheel.expire(time_of(full(kStart) + 1));
  EXPECT_EQ(client.calls, 1);
}

// The longest wait that ticks_of() gives, also from a wheel that has not been turned for a while.
TEST(IdleWheel, TheFarthestDeadlineIsNotEarly) {
  for (const Duration lag : {0s, 1s, 3600s}) {
    IdleWheel wheel(kStart);
    Client client;
    const TimePoint now = kStart + lag;
    const Tick ahead = internal::ticks_of(Duration::max());
    wheel.schedule(client, internal::tick_of(now) + ahead);
    const auto next = wheel.next();
    ASSERT_TRUE(next);
    EXPECT_GE(*next, time_of(full(now) + ahead)) << "behind by " << lag.count() << " ns";
    wheel.expire(time_of(full(now) + ahead - 1));
    EXPECT_EQ(client.calls, 0);
    wheel.expire(time_of(full(now) + ahead + lateness(ahead)));
    EXPECT_EQ(client.calls, 1);
  }
}

TEST(IdleWheel, AThirtyDayDeadlineIsNotEarly) {
  IdleWheel wheel(kStart);
  Client client;
  const Duration month = std::chrono::hours(24 * 30);
  wheel.schedule(client, internal::tick_of(kStart) + internal::ticks_of(month));
  wheel.expire(kStart + month);
  EXPECT_EQ(client.calls, 0);
  wheel.expire(kStart + month + month / 15);
  EXPECT_EQ(client.calls, 1);
}

TEST(IdleWheel, F14_ATurnServesABoundedNumber) {
  IdleWheel wheel(kStart);
  std::vector<std::unique_ptr<Client>> clients;
  int calls = 0;
  const std::size_t total = 2 * IdleWheel::kMaxExpiredPerTurn + 5;
  for (std::size_t i = 0; i < total; ++i) {
    clients.push_back(std::make_unique<Client>());
    clients.back()->expired = [&calls] { ++calls; };
    wheel.schedule(*clients.back(), static_cast<Tick>(full(kStart)) + 5);
  }
  wheel.expire(kStart + 1s);
  EXPECT_EQ(calls, static_cast<int>(IdleWheel::kMaxExpiredPerTurn));
  EXPECT_EQ(wheel.next(), TimePoint::min()) << "more is due";
  wheel.expire(kStart + 1s);
  wheel.expire(kStart + 1s);
  EXPECT_EQ(calls, static_cast<int>(total));
  EXPECT_EQ(wheel.next(), std::nullopt);
}

TEST(IdleWheel, AClientMayCancelDestroyOrRescheduleWhileOthersExpire) {
  IdleWheel wheel(kStart);
  auto first = std::make_unique<Client>();
  auto doomed = std::make_unique<Client>();
  auto cancelled = std::make_unique<Client>();
  Client again;
  const auto now = static_cast<Tick>(full(kStart));
  first->expired = [&] {
    doomed.reset();
    wheel.cancel(*cancelled);
  };
  again.expired = [&] {
    if (again.calls < 3) wheel.schedule(again, now);  // in the past: the next tick
  };
  wheel.schedule(*first, now + 5);
  wheel.schedule(*doomed, now + 5);
  wheel.schedule(*cancelled, now + 5);
  wheel.schedule(again, now + 5);
  wheel.expire(time_of(full(kStart) + 5));
  EXPECT_EQ(first->calls, 1);
  EXPECT_EQ(cancelled->calls, 0);
  EXPECT_EQ(again.calls, 1) << "not again in the same turn";
  wheel.expire(time_of(full(kStart) + 6));
  wheel.expire(time_of(full(kStart) + 7));
  EXPECT_EQ(again.calls, 3);
}

// Against the definition: not before the deadline, at most `lateness` after, next() never too late.
TEST(IdleWheel, RandomOperationsKeepTheBounds) {
  for (std::uint64_t seed = 1; seed <= 20; ++seed) {
    std::mt19937_64 random(seed);
    std::uint64_t now = full(kStart);
    IdleWheel wheel(kStart);
    std::vector<std::unique_ptr<Client>> clients(200);
    for (auto& client : clients) {
      client = std::make_unique<Client>();
      client->expired = [&now, c = client.get()] {
        EXPECT_NE(c->deadline, 0u) << "it was not set";
        EXPECT_GE(now, c->deadline) << "early";
        c->deadline = 0;
      };
    }
    for (int step = 0; step < 5000; ++step) {
      Client& client = *clients[random() % clients.size()];
      const auto choice = random() % 10;
      if (choice < 5) {
        const std::uint64_t range = std::uint64_t{1} << (random() % 24);
        client.deadline = now + 1 + random() % range;
        client.set_at = now;
        wheel.schedule(client, static_cast<Tick>(client.deadline));
      } else if (choice < 6) {
        client.deadline = 0;
        wheel.cancel(client);
      } else {
        now += random() % (std::uint64_t{1} << (random() % 18));
        wheel.expire(time_of(now));
      }
      std::uint64_t earliest_allowed = ~std::uint64_t{0};
      for (const auto& each : clients) {
        if (each->deadline == 0) continue;
        const std::uint64_t latest = each->deadline + lateness(each->deadline - each->set_at);
        EXPECT_GT(latest, now) << "late; seed " << seed << ", step " << step;
        earliest_allowed = std::min(earliest_allowed, latest);
      }
      const auto next = wheel.next();
      if (earliest_allowed == ~std::uint64_t{0}) continue;
      ASSERT_TRUE(next) << "seed " << seed << ", step " << step;
      ASSERT_LE(*next, time_of(earliest_allowed)) << "seed " << seed << ", step " << step;
    }
  }
}

}  // namespace
}  // namespace weir::test
