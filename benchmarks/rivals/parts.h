// The interface of weir-parts-compare to a library: timers that are set and cancelled, and a loop
// that other threads post to. Each library implements it in a file parts_LIBRARY.cc.
//
// A measured call handles many timers or posts, so that the cost of this interface does not count.
#pragma once

#include <array>
#include <atomic>
#include <chrono>
#include <cstdint>
#include <functional>
#include <memory>
#include <semaphore>
#include <span>
#include <string>
#include <vector>

namespace parts {

using Time = std::chrono::steady_clock::time_point;

// Prints "error: ..." and exits with status 1 immediately, whatever other threads do.
[[noreturn]] void give_up(const std::string& what);

// -- timers ---------------------------------------------------------------------------------------

// The index of a timer.
using Place = std::uint32_t;

// So long that no timer is due during the measurement.
inline constexpr std::chrono::minutes kTimeout(10);

class Timers {
 public:
  Timers() = default;
  Timers(const Timers&) = delete;
  Timers& operator=(const Timers&) = delete;
  virtual ~Timers() = default;

  // Calls `work` where programs usually set timers of this library (for example in a callback), if
  // that makes a difference.
  virtual void within(const std::function<void()>& work) { work(); }
  // Sets timers that are not set, each a microsecond later than the one before.
  virtual void set(std::span<const Place> places) = 0;
  // Cancels timers and returns how many of them were set, according to the library.
  virtual std::uint64_t cancel(std::span<const Place> places) = 0;
  // The number of timers that ran, in total.
  std::uint64_t ran() const { return ran_; }

 protected:
  std::uint64_t ran_ = 0;
};

// -- posts ----------------------------------------------------------------------------------------

inline constexpr std::uint32_t kMostPosters = 2;

// Counts posts. Each poster numbers its posts from 0.
class Tally {
 public:
  enum class Notify : std::uint8_t { at_the_end, each };

  Tally(std::uint64_t expected, Notify notify)
      : expected_(expected), notify_each_(notify == Notify::each) {}

  // On the loop's thread.
  void run(std::uint32_t poster, std::uint32_t number) {
    std::atomic<std::uint32_t>& next = next_[poster].number;
    if (next.load(std::memory_order_relaxed) != number) out_of_order_ = true;
    next.store(number + 1, std::memory_order_relaxed);
    if (++ran_ != expected_ && !notify_each_) return;
    end_ = std::chrono::steady_clock::now();
    notified.release();
  }
  // The number of posts of this poster that ran. [any thread]
  std::uint32_t ran(std::uint32_t poster) const {
    return next_[poster].number.load(std::memory_order_relaxed);
  }

  // Call these after `notified`, or after the end of the loop.
  Time end() const { return end_; }
  std::uint64_t ran() const { return ran_; }
  std::uint64_t expected() const { return expected_; }
  bool in_order() const { return !out_of_order_; }

  std::counting_semaphore<> notified{0};  // the last post ran or, with Notify::each, one ran

 private:
  struct alignas(64) Next {
    std::atomic<std::uint32_t> number{0};
  };
  const std::uint64_t expected_;
  const bool notify_each_;
  std::array<Next, kMostPosters> next_;
  std::uint64_t ran_ = 0;
  bool out_of_order_ = false;
  Time end_;
};

// The posted task: small, with a pointer and two numbers.
struct Posted {
  Tally* tally;
  std::uint32_t poster;
  std::uint32_t number;
  void operator()() const { tally->run(poster, number); }
};

// Constructed, run and destroyed on one thread.
class Loop {
 public:
  Loop() = default;
  Loop(const Loop&) = delete;
  Loop& operator=(const Loop&) = delete;
  virtual ~Loop() = default;

  virtual void run() = 0;  // until stop()
  // Posts `count` tasks one by one, starting with `first`. [any thread]
  virtual void post(Posted first, std::uint32_t count) = 0;
  // [any thread] The loop is not destroyed before the call returns.
  virtual void stop() = 0;
};

// -- the libraries --------------------------------------------------------------------------------

template <typename Made>
struct Way {
  std::string name;   // of the library and, if it has several, of the variant
  std::string calls;  // the functions that are called
  Made make;
};
using TimerWay = Way<std::function<std::unique_ptr<Timers>(std::size_t places)>>;
using PostWay = Way<std::function<std::unique_ptr<Loop>()>>;

// In each list the others are compared with the first one.
struct Catalog {
  std::vector<std::string> versions;  // "libev 4.33"
  std::vector<std::string> missing;
  std::vector<TimerWay> timers;
  std::vector<PostWay> posts;
};

void add_weir(Catalog& catalog);
void add_libev(Catalog& catalog);
void add_libuv(Catalog& catalog);
void add_asio(Catalog& catalog);
void add_libevent(Catalog& catalog);

// -- the measurements -----------------------------------------------------------------------------

struct TimerTimes {
  double set_ns = 0;
  double cancel_ns = 0;
};
// `turn`: every index once, in the order in which timers are cancelled and set again.
TimerTimes measure_timers(const TimerWay& way, std::span<const Place> turn);

struct PostTimes {
  std::array<double, kMostPosters> post_ns{};  // by the number of posters, less one
  double trip_us = 0;
};
struct PostCounts {
  std::uint32_t posts;  // in total, of all posters
  std::uint32_t trips;
};
PostTimes measure_posts(const PostWay& way, PostCounts counts);

}  // namespace parts
