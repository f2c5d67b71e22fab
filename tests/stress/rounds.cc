#include "stress/rounds.h"

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <cstdlib>

namespace weir::test {

namespace {

std::chrono::seconds wanted_time() {
  const char* const text = std::getenv("WEIR_STRESS_SECONDS");
  return std::chrono::seconds(text != nullptr ? std::atoi(text) : 1);
}

// How often a long run says that it is alive.
constexpr std::chrono::seconds kProgress{10};

}  // namespace

void Rounds::run(const std::function<void(std::uint64_t seed)>& round) {
  const auto* const test = testing::UnitTest::GetInstance()->current_test_info();
  const auto start = std::chrono::steady_clock::now();
  const std::chrono::seconds time = wanted_time();
  auto progress = start + kProgress;
  auto seed = static_cast<std::uint64_t>(std::max(GTEST_FLAG_GET(random_seed), 1));
  for (;; ++seed) {
    std::printf("seed %llu\n", static_cast<unsigned long long>(seed));
    std::fflush(stdout);
    round(seed);
    if (testing::Test::HasFailure()) {
      std::printf(
          "To repeat it:\n  WEIR_STRESS_SECONDS=0 %s --gtest_filter=%s.%s "
          "--gtest_random_seed=%llu\n",
          program_invocation_name, test->test_suite_name(), test->name(),
          static_cast<unsigned long long>(seed));
      return;
    }
    const auto now = std::chrono::steady_clock::now();
    if (now >= start + time) return;
    if (now < progress) continue;
    progress = now + kProgress;
    std::fprintf(stderr, "%s: seed %llu, %lld s left\n", test->name(),
                 static_cast<unsigned long long>(seed),
                 static_cast<long long>((start + time - now) / std::chrono::seconds(1)));
  }
}

void Dice::pause() {
  switch (below(8)) {
    case 0:
      return std::this_thread::yield();
    case 1: {
      std::atomic<unsigned> work{0};
      for (std::size_t i = below(2000); i > 0; --i) work.fetch_add(1, std::memory_order_relaxed);
      return;
    }
    default:
      return;
  }
}

Threads::Threads(std::uint64_t seed, std::size_t count,
                 const std::function<void(std::size_t thread, Dice& dice)>& body) {
  for (std::size_t i = 0; i < count; ++i) {
    threads_.emplace_back([this, seed, i, body] {
      Dice dice(seed, i + 1);
      go_.wait(false);
      body(i, dice);
      ++ended_;
    });
  }
  go_ = true;
  go_.notify_all();
}

void Threads::join() {
  for (std::thread& thread : threads_) {
    if (thread.joinable()) thread.join();
  }
}

}  // namespace weir::test
