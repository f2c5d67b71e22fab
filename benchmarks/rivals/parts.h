// What weir-parts-compare asks of a library: timers that are set and cancelled, and a loop that
// other threads post to. One file for each library, parts_LIBRARY.cc, is behind it.
//
// What is measured runs over many timers or posts in one call, so that nothing of this interface is
// paid for by the item.
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

// "error: ..." and exit status 1, at once, whatever other threads do.
[[noreturn]] void give_up(const std::string& what);

// -- timers ---------------------------------------------------------------------------------------

// One of so many timers that a library keeps for us.
using Place = std::uint32_t;

// No timer comes due while we measure.
inline constexpr std::chrono::minutes kTimeout(10);

class Timers {
 public:
  Timers() = default;
  Timers(const Timers&) = delete;
  Timers& operator=(const Timers&) = delete;
  virtual ~Timers() = default;

  // Calls `work` where timers of this library are set in life, if that makes a difference to it.
  virtual void within(const std::function<void()>& work) { work(); }
  // Each a microsecond later than the one before; none of them is set yet.
  virtual void set(std::span<const Place> places) = 0;
  // How many of them were set, as the library says.
  virtual std::uint64_t cancel(std::span<const Place> places) = 0;
  // How many ran, ever.
  std::uint64_t ran() const { return ran_; }

 protected:
  std::uint64_t ran_ = 0;
};

// -- posts ----------------------------------------------------------------------------------------

inline constexpr std::uint32_t kMostPosters = 2;

// What posts are counted by. Each poster numbers its posts from 0.
class Tally {
 public:
  enum class Tell : std::uint8_t { at_the_end, each };

  Tally(std::uint64_t expected, Tell tell) : expected_(expected), tell_each_(tell == Tell::each) {}

  // On the loop's thread.
  void run(std::uint32_t poster, std::uint32_t number) {
    std::atomic<std::uint32_t>& next = next_[poster].number;
    if (next.load(std::memory_order_relaxed) != number) out_of_order_ = true;
    next.store(number + 1, std::memory_order_relaxed);
    if (++ran_ != expected_ && !tell_each_) return;
    end_ = std::chrono::steady_clock::now();
    told.release();
  }
  // Of this poster's posts. [any thread]
  std::uint32_t ran(std::uint32_t poster) const {
    return next_[poster].number.load(std::memory_order_relaxed);
  }

  // After told, or after the loop.
  Time end() const { return end_; }
  std::uint64_t ran() const { return ran_; }
  std::uint64_t expected() const { return expected_; }
  bool in_order() const { return !out_of_order_; }

  std::counting_semaphore<> told{0};  // the last one ran, or: one ran

 private:
  struct alignas(64) Next {
    std::atomic<std::uint32_t> number{0};
  };
  const std::uint64_t expected_;
  const bool tell_each_;
  std::array<Next, kMostPosters> next_;
  std::uint64_t ran_ = 0;
  bool out_of_order_ = false;
  Time end_;
};

// What is posted: as small as a task with a pointer and a number is.
struct Posted {
  Tally* tally;
  std::uint32_t poster;
  std::uint32_t number;
  void operator()() const { tally->run(poster, number); }
};

// Made, run and destroyed on one thread.
class Loop {
 public:
  Loop() = default;
  Loop(const Loop&) = delete;
  Loop& operator=(const Loop&) = delete;
  virtual ~Loop() = default;

  virtual void run() = 0;  // until stop()
  // `first` and those that follow it, `count` in all, one by one. [any thread]
  virtual void post(Posted first, std::uint32_t count) = 0;
  // [any thread]; the loop is not destroyed before the call is over.
  virtual void stop() = 0;
};

// -- the libraries --------------------------------------------------------------------------------

template <typename Made>
struct Way {
  std::string name;   // of the library, and of the way where it has several
  std::string calls;  // what is called
  Made make;
};
using TimerWay = Way<std::function<std::unique_ptr<Timers>(std::size_t places)>>;
using PostWay = Way<std::function<std::unique_ptr<Loop>()>>;

// In each list the first one is what the others are compared with.
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
// `turn`: every place once, in the order in which timers are cancelled and set again.
TimerTimes measure_timers(const TimerWay& way, std::span<const Place> turn);

struct PostTimes {
  std::array<double, kMostPosters> post_ns{};  // by the number of posters, less one
  double trip_us = 0;
};
struct PostCounts {
  std::uint32_t posts;  // in all, however many post
  std::uint32_t trips;
};
PostTimes measure_posts(const PostWay& way, PostCounts counts);

}  // namespace parts
