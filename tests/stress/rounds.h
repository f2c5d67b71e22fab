// Rounds of a stress test: each is one seed, which decides what every thread does. [any]
//
// A test runs rounds for a second, or for WEIR_STRESS_SECONDS. The first seed is
// --gtest_random_seed, or 1; each round has the next one. With WEIR_STRESS_SECONDS=0 a test is one
// round. A seed repeats the decisions of all threads, but not how the kernel interleaves them.
#pragma once

#include <gtest/gtest.h>

#include <atomic>
#include <chrono>
#include <cstdint>
#include <functional>
#include <random>
#include <thread>
#include <vector>

namespace weir::test {

// The deadline of each step. Only a hang passes it: on a busy machine, a round with sanitizers may
// take seconds.
inline constexpr std::chrono::seconds kPatience{60};

class Rounds {
 public:
  // Calls `round` with one seed after the other, until the time is up or the test has failed.
  // Prints each seed, so that the last one is known if the program is aborted.
  static void run(const std::function<void(std::uint64_t seed)>& round);
};

// The decisions of one thread in one round.
class Dice {
 public:
  Dice(std::uint64_t seed, std::uint64_t thread) : random_(seed * 1000 + thread) {}
  // 0 to n - 1.
  std::size_t below(std::size_t n) { return random_() % n; }
  bool one_in(std::size_t n) { return below(n) == 0; }
  // Lets another thread run, works for some time, or does nothing.
  void pause();

 private:
  std::mt19937_64 random_;
};

// `count` threads that begin at the same time and call body(thread, dice). Joined at the end of the
// scope, or by join().
class Threads {
 public:
  Threads(std::uint64_t seed, std::size_t count,
          const std::function<void(std::size_t thread, Dice& dice)>& body);
  ~Threads() { join(); }
  Threads(const Threads&) = delete;
  Threads& operator=(const Threads&) = delete;
  void join();
  bool ended() const { return ended_ == threads_.size(); }

 private:
  std::atomic<bool> go_{false};
  std::atomic<std::size_t> ended_{0};
  std::vector<std::thread> threads_;
};

}  // namespace weir::test
