// Posts to the loop of one library, which runs on its own thread: as many as possible with a limit
// of pending ones, and single posts to a sleeping loop.
#include <fcntl.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <barrier>
#include <string_view>
#include <thread>

#include "rivals/parts.h"

namespace parts {
namespace {

using std::chrono::steady_clock;

// Posters wait while more than this are pending, so that no queue grows without limit.
constexpr std::uint32_t kMostWaiting = 4096;
constexpr std::uint32_t kLookEvery = 64;
constexpr std::chrono::seconds kPatience(20);

class LoopThread {
 public:
  explicit LoopThread(const PostWay& way) : way_(way), thread_([this] { work(); }) {
    ready_.acquire();
  }
  LoopThread(const LoopThread&) = delete;
  LoopThread& operator=(const LoopThread&) = delete;
  ~LoopThread() {
    loop_->stop();
    may_go_.release();
    thread_.join();
    ::close(state_);
  }
  Loop& loop() { return *loop_; }

  void wait_until_asleep() {
    const Time deadline = steady_clock::now() + kPatience;
    while (!asleep()) {
      if (steady_clock::now() > deadline) give_up(way_.name + ": the loop does not sleep");
      std::this_thread::yield();
    }
  }

 private:
  void work() {
    const std::string state = "/proc/self/task/" + std::to_string(::syscall(SYS_gettid)) + "/stat";
    state_ = ::open(state.c_str(), O_RDONLY | O_CLOEXEC);
    if (state_ < 0) give_up(state + " cannot be read");
    const std::unique_ptr<Loop> loop = way_.make();
    loop_ = loop.get();
    ready_.release();
    loop->run();
    may_go_.acquire();  // stop() may still use the loop
  }

  // "1234 (name) S ..."; the name may contain any character.
  bool asleep() const {
    std::array<char, 256> text{};
    const ssize_t size = ::pread(state_, text.data(), text.size(), 0);
    if (size <= 0) give_up("/proc does not show whether a thread sleeps");
    const std::string_view line(text.data(), static_cast<std::size_t>(size));
    const std::size_t name_end = line.rfind(')');
    return name_end != line.npos && line.substr(name_end).starts_with(") S");
  }

  const PostWay& way_;
  Loop* loop_ = nullptr;
  int state_ = -1;
  std::binary_semaphore ready_{0};
  std::binary_semaphore may_go_{0};
  std::thread thread_;
};

void post_all(Loop& loop, Tally& tally, std::uint32_t poster, std::uint32_t count,
              std::uint32_t window) {
  for (std::uint32_t posted = 0; posted < count;) {
    while (posted - tally.ran(poster) > window) std::this_thread::yield();
    const std::uint32_t some = std::min(kLookEvery, count - posted);
    loop.post({.tally = &tally, .poster = poster, .number = posted}, some);
    posted += some;
  }
}

// Nanoseconds per post, from the first one to the end of the last one.
double throughput(const PostWay& way, Loop& loop, Tally& tally, std::uint32_t posters) {
  const auto each = static_cast<std::uint32_t>(tally.expected() / posters);
  std::barrier start(posters);
  std::array<Time, kMostPosters> started;
  started.fill(Time::max());
  std::vector<std::thread> threads;
  for (std::uint32_t poster = 0; poster < posters; ++poster) {
    threads.emplace_back([&, poster] {
      start.arrive_and_wait();
      started[poster] = steady_clock::now();
      post_all(loop, tally, poster, each, kMostWaiting / posters);
    });
  }
  if (!tally.notified.try_acquire_for(kPatience)) {
    std::uint64_t arrived = 0;
    for (std::uint32_t poster = 0; poster < posters; ++poster) arrived += tally.ran(poster);
    give_up(way.name + ": " + std::to_string(arrived) + " of " + std::to_string(tally.expected()) +
            " posts arrived");
  }
  for (std::thread& thread : threads) thread.join();
  const Time first = *std::min_element(started.begin(), started.end());
  return std::chrono::duration<double, std::nano>(tally.end() - first).count() /
         static_cast<double>(tally.expected());
}

// Microseconds from a post to a sleeping loop until this thread, which also sleeps, continues.
double round_trip(const PostWay& way, LoopThread& thread, Tally& tally) {
  std::vector<double> trips;
  for (std::uint32_t trip = 0; trip < tally.expected(); ++trip) {
    thread.wait_until_asleep();
    const Time start = steady_clock::now();
    thread.loop().post({.tally = &tally, .poster = 0, .number = trip}, 1);
    if (!tally.notified.try_acquire_for(kPatience)) give_up(way.name + ": a post did not arrive");
    trips.push_back(std::chrono::duration<double, std::micro>(steady_clock::now() - start).count());
  }
  const auto middle = trips.begin() + static_cast<std::ptrdiff_t>(trips.size() / 2);
  std::nth_element(trips.begin(), middle, trips.end());
  return *middle;
}

}  // namespace

PostTimes measure_posts(const PostWay& way, PostCounts counts) {
  // They outlive the loop, so that a post that runs twice is detected.
  Tally warm_up(kMostWaiting * 4, Tally::Notify::at_the_end);
  Tally one(counts.posts, Tally::Notify::at_the_end);
  Tally two(counts.posts, Tally::Notify::at_the_end);
  Tally trips(counts.trips, Tally::Notify::each);
  PostTimes times;
  {
    LoopThread thread(way);
    throughput(way, thread.loop(), warm_up, 1);
    times.post_ns[0] = throughput(way, thread.loop(), one, 1);
    times.post_ns[1] = throughput(way, thread.loop(), two, 2);
    times.trip_us = round_trip(way, thread, trips);
  }
  for (const Tally* tally : {&warm_up, &one, &two, &trips}) {
    if (tally->ran() != tally->expected()) {
      give_up(way.name + ": of " + std::to_string(tally->expected()) + " posts " +
              std::to_string(tally->ran()) + " arrived");
    }
    if (!tally->in_order()) give_up(way.name + ": a thread's posts arrived out of order");
  }
  return times;
}

}  // namespace parts
