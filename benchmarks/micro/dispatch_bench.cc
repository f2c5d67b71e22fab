// From epoll to the handler: channels that are always ready, and the same descriptors in a plain
// epoll loop, so that the difference is the cost of weir.
#include <sys/epoll.h>
#include <sys/eventfd.h>

#include <array>
#include <cstdint>
#include <deque>
#include <vector>

#include "bench.h"
#include "weir/base/fd.h"
#include "weir/net/reactor/channel.h"
#include "weir/net/reactor/event_loop.h"
#include "weir/net/reactor/internal/epoll_poller.h"

namespace weir::bench {
namespace {

// Events of one iteration.
constexpr std::int64_t kEvents = 4096;

// Descriptors that stay readable, because nobody reads them. Empty if there are not enough
// descriptors.
std::vector<Fd> ready_descriptors(std::int64_t count) {
  std::vector<Fd> all;
  for (std::int64_t i = 0; i < count; ++i) {
    Fd fd(::eventfd(1, EFD_NONBLOCK | EFD_CLOEXEC));
    if (!fd.valid()) return {};
    all.push_back(std::move(fd));
  }
  return all;
}

struct Counts {
  std::int64_t events = 0;
  std::int64_t left = 0;
};

class Counting final : public IoHandler {
 public:
  Counting(EventLoop& loop, int fd, Counts& counts) : counts_(counts), channel_(loop, fd, *this) {
    channel_.set_reading(true);
  }
  void on_ready(std::uint32_t) override {
    ++counts_.events;
    if (--counts_.left == 0) channel_.loop().stop();
  }
  void on_interest_refused(Errno) override {}

 private:
  Counts& counts_;
  Channel channel_;
};

void channel_dispatch(benchmark::State& state) {
  const std::vector<Fd> descriptors = ready_descriptors(state.range(0));
  if (descriptors.empty()) {
    state.SkipWithError("not enough descriptors (ulimit -n)");
    return;
  }
  EventLoop loop(loop_options());
  Counts counts;
  std::deque<Counting> handlers;
  for (const Fd& fd : descriptors) handlers.emplace_back(loop, fd.get(), counts);
  counts.left = 1;
  loop.run();  // registers the channels
  counts.events = 0;
  Report report(state);
  for (auto _ : state) {
    counts.left = kEvents;
    loop.run();
  }
  report.done(counts.events);
}
BENCHMARK(channel_dispatch)->ArgName("channels")->Arg(1)->Arg(16)->Arg(512)->Arg(4096);

void bare_epoll(benchmark::State& state) {
  const std::vector<Fd> descriptors = ready_descriptors(state.range(0));
  const Fd set(::epoll_create1(EPOLL_CLOEXEC));
  if (descriptors.empty() || !set.valid()) {
    state.SkipWithError("not enough descriptors (ulimit -n)");
    return;
  }
  Counts counts;
  for (const Fd& fd : descriptors) {
    epoll_event event{};
    event.events = EPOLLIN;
    event.data.ptr = &counts;
    if (::epoll_ctl(set.get(), EPOLL_CTL_ADD, fd.get(), &event) != 0) {
      state.SkipWithError("epoll_ctl");
      return;
    }
  }
  std::array<epoll_event, internal::EpollPoller::kMaxEventsPerTurn> events;
  Report report(state);
  for (auto _ : state) {
    counts.left = kEvents;
    while (counts.left > 0) {
      const int ready = ::epoll_wait(set.get(), events.data(), static_cast<int>(events.size()), -1);
      for (std::size_t i = 0; i < static_cast<std::size_t>(ready); ++i) {
        auto* told = static_cast<Counts*>(events[i].data.ptr);
        ++told->events;
        --told->left;
        benchmark::ClobberMemory();
      }
    }
  }
  report.done(counts.events);
}
BENCHMARK(bare_epoll)->ArgName("channels")->Arg(1)->Arg(16)->Arg(512)->Arg(4096);

// A turn of a loop with only one posted task: the fixed cost of a wake-up.
void loop_turn(benchmark::State& state) {
  EventLoop loop(loop_options());
  struct Chain {
    EventLoop& loop;
    std::int64_t left = 0;
    void next() {
      if (--left == 0) {
        loop.stop();
      } else {
        loop.post([this] { next(); });
      }
    }
  } chain{loop};
  const std::uint64_t before = loop.stats().turns;
  Report report(state);
  for (auto _ : state) {
    chain.left = 1000;
    loop.post([&chain] { chain.next(); });
    loop.run();
  }
  report.done(static_cast<std::int64_t>(loop.stats().turns - before));
}
BENCHMARK(loop_turn);

}  // namespace
}  // namespace weir::bench
