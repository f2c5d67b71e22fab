// Tasks that other threads post to a loop. Unless noted otherwise, the time is wall-clock time from
// the first post to the end of the last task: posters and loop need a core each.
#include <atomic>
#include <barrier>
#include <chrono>
#include <cstdint>
#include <semaphore>
#include <thread>
#include <vector>

#include "bench.h"
#include "weir/net/reactor/event_loop.h"
#include "weir/net/reactor/internal/loop_core.h"
#include "weir/net/reactor/loop_pool.h"

namespace weir::bench {
namespace {

using Time = std::chrono::steady_clock::time_point;

// The posted task; runs on the thread of one loop.
struct Tally {
  std::int64_t ran = 0;
  std::int64_t expected = 0;
  Time end;
  std::binary_semaphore finished{0};

  void run() {
    if (++ran < expected) return;
    end = std::chrono::steady_clock::now();
    finished.release();
  }
};

// Threads that post to one loop, in rounds.
class Posters {
 public:
  // window: a poster waits while more tasks than this are pending. 0: it never waits.
  Posters(EventLoop& loop, std::int64_t threads, std::int64_t tasks, std::uint64_t window)
      : loop_(loop), tasks_(tasks), window_(window), start_(threads + 1) {
    for (std::int64_t i = 0; i < threads; ++i) threads_.emplace_back([this] { work(); });
  }
  Posters(const Posters&) = delete;
  Posters& operator=(const Posters&) = delete;
  ~Posters() {
    ending_ = true;
    start_.arrive_and_wait();
    for (std::thread& thread : threads_) thread.join();
  }

  // Seconds from the start to the end of the last task.
  double round() {
    tally_.ran = 0;
    tally_.expected = tasks_ * static_cast<std::int64_t>(threads_.size());
    const Time start = std::chrono::steady_clock::now();
    start_.arrive_and_wait();
    tally_.finished.acquire();
    return std::chrono::duration<double>(tally_.end - start).count();
  }

 private:
  void work() {
    for (;;) {
      start_.arrive_and_wait();
      if (ending_) return;
      for (std::int64_t i = 0; i < tasks_; ++i) {
        if (window_ != 0 && i % 64 == 0) {
          while (loop_.backlog() > window_) std::this_thread::yield();
        }
        loop_.post([tally = &tally_] { tally->run(); });
      }
    }
  }

  EventLoop& loop_;
  const std::int64_t tasks_;  // for each thread and round
  const std::uint64_t window_;
  Tally tally_;
  bool ending_ = false;  // set before the barrier that publishes it
  std::barrier<> start_;
  std::vector<std::thread> threads_;
};

void post_from_threads(benchmark::State& state, std::int64_t tasks, std::uint64_t window) {
  LoopPool pool(1, loop_options());
  Posters posters(pool.loop(0), state.range(0), tasks / state.range(0), window);
  Report report(state);
  for (auto _ : state) state.SetIterationTime(posters.round());
  report.done_without_allocations(state.iterations() * tasks);
}
void thread_counts(benchmark::internal::Benchmark* of) {
  of->ArgName("threads")->Arg(1)->Arg(2)->Arg(4)->UseManualTime();
}
// Posters observe backlog(), so few tasks are pending.
BENCHMARK_CAPTURE(post_from_threads, sustained, 400'000, 4096)->Apply(thread_counts);
// No poster waits, so the mailbox grows.
BENCHMARK_CAPTURE(post_from_threads, burst, 100'000, 0)->Apply(thread_counts);

// A loop on its own thread that runs only on request.
class ParkedLoop {
 public:
  ParkedLoop() : thread_([this] { work(); }) { parked_.acquire(); }
  ParkedLoop(const ParkedLoop&) = delete;
  ParkedLoop& operator=(const ParkedLoop&) = delete;
  ~ParkedLoop() {
    loop_ = nullptr;
    go_.release();
    thread_.join();
  }
  EventLoop& loop() { return *loop_; }
  // Runs the posted tasks.
  void drain() {
    loop_->post([loop = loop_] { loop->stop(); });
    go_.release();
    parked_.acquire();
  }

 private:
  void work() {
    EventLoop loop(loop_options());
    loop_ = &loop;
    for (;;) {
      parked_.release();
      go_.acquire();
      if (loop_ == nullptr) return;
      loop.run();
    }
  }

  EventLoop* loop_ = nullptr;
  std::binary_semaphore parked_{0};
  std::binary_semaphore go_{0};
  std::thread thread_;
};

// Only the call of post(): no contention, and no loop to wake.
void post_call(benchmark::State& state) {
  // At most as many as a mailbox keeps memory for, or each batch would allocate.
  constexpr std::int64_t kBatch = internal::LoopCore::kKeptTasks - 1;
  ParkedLoop parked;
  EventLoop& loop = parked.loop();
  std::int64_t ran = 0;
  Report report(state);
  for (auto _ : state) {
    timed(state, [&] {
      for (std::int64_t i = 0; i < kBatch; ++i) loop.post([&ran] { ++ran; });
    });
    parked.drain();
  }
  report.done_without_allocations(ran);
}
BENCHMARK(post_call)->UseManualTime();

// From the loop's own thread: the call and the run, without a second thread.
void post_own_thread(benchmark::State& state) {
  constexpr std::int64_t kBatch = 2000;
  EventLoop loop(loop_options());
  std::int64_t ran = 0;
  const auto round = [&] {
    for (std::int64_t i = 0; i < kBatch; ++i) loop.post([&ran] { ++ran; });
    loop.post([&loop] { loop.stop(); });
    loop.run();
  };
  round();  // allocates the memory for the tasks
  ran = 0;
  Report report(state);
  for (auto _ : state) round();
  report.done(ran);
}
BENCHMARK(post_own_thread);

// To another loop and back, one at a time. Both threads sleep in between: two wake-ups.
void post_round_trip(benchmark::State& state) {
  constexpr std::int64_t kTrips = 20;
  LoopPool pool(1, loop_options());
  EventLoop& there = pool.loop(0);
  EventLoop here(loop_options());
  struct Ball {
    EventLoop& here;
    EventLoop& there;
    std::int64_t left = 0;
    std::int64_t trips = 0;
    void serve() {
      there.post([this] { here.post([this] { back(); }); });
    }
    void back() {
      ++trips;
      if (--left == 0) {
        here.stop();
      } else {
        serve();
      }
    }
  } ball{here, there};
  Report report(state);
  for (auto _ : state) {
    ball.left = kTrips;
    ball.serve();
    here.run();
  }
  report.done_without_allocations(ball.trips);
}
BENCHMARK(post_round_trip)->UseRealTime();

}  // namespace
}  // namespace weir::bench
