// weir-tour: the event loop without a network: timers, signals, tasks from another thread, and the
// loop's statistics. It runs for some seconds and prints what it does.
//
// The SignalSet is made before the other thread starts, because the thread inherits the blocked
// signals. The threads share nothing but the loop's mailbox. The thread is stopped and joined
// before the loop is destroyed.

#include <fmt/chrono.h>
#include <fmt/format.h>

#include <chrono>
#include <csignal>
#include <cstdint>
#include <cstdio>
#include <stop_token>
#include <string>
#include <thread>

#include "common/command_line.h"
#include "program/command_line.h"
#include "weir/net/reactor/event_loop.h"
#include "weir/net/reactor/signal_set.h"

namespace {

using Milliseconds = std::chrono::duration<double, std::milli>;

// Prints a line, with the time since the start.
void say(const std::string& line) {
  static const weir::TimePoint start = weir::Clock::now();
  const Milliseconds since = weir::Clock::now() - start;
  std::fputs(fmt::format("{:8.1f} ms  {}\n", since.count(), line).c_str(), stdout);
}

// Timers run on the loop's thread: never early, and never inside the call that sets them.
void timers(weir::EventLoop& loop, weir::Duration step) {
  loop.run_after(step, [] { say("timer: one step has passed"); });

  int ticks = 0;
  loop.run_every(step, [ticks]() mutable { say(fmt::format("timer: tick {}", ++ticks)); });

  const weir::TimerId never = loop.run_after(step, [] { say("timer: this is never said"); });
  say(fmt::format("timer: cancelled one in time: {}", loop.cancel(never)));
  say(fmt::format("timer: cancelled it again: {}", loop.cancel(never)));
}

// A task is never run inside post(), but in a later phase of the turn; dispatch() on the loop's own
// thread runs it at once.
void tasks(weir::EventLoop& loop) {
  loop.post([] { say("task: posted first, runs second"); });
  loop.dispatch([] { say("task: dispatched, runs at once"); });
}

// Long work is done on another thread, which posts values. (To post a reference to an object of the
// loop would be a bug; examples/worker_pool shows how to answer a connection.)
void work(weir::EventLoop& loop, const std::stop_token& stop) {
  for (std::uint64_t limit = 1'000; limit <= 100'000 && !stop.stop_requested(); limit *= 10) {
    std::uint64_t primes = 0;
    for (std::uint64_t n = 2; n <= limit; ++n) {
      std::uint64_t divisor = 2;
      while (divisor * divisor <= n && n % divisor != 0) ++divisor;
      if (divisor * divisor > n) ++primes;
    }
    loop.post([primes, limit] {
      say(fmt::format("thread: there are {} primes up to {}", primes, limit));
    });
  }
}

// The loop's own counters.
void numbers(const weir::EventLoop& loop) {
  const weir::EventLoop::Stats stats = loop.stats();
  say(fmt::format("stats: {} turns, {} timers, {} tasks, {} events, {} wake-ups by the thread",
                  stats.turns, stats.timers, stats.tasks, stats.events, stats.wakeups));
  say(fmt::format("stats: busy for {:.2f} ms; 99 % of the turns took {:.3f} ms at most",
                  Milliseconds(stats.busy).count(), Milliseconds(stats.turn_time(99)).count()));
}

}  // namespace

int main(int argc, char** argv) {
  weir::Duration length = std::chrono::seconds(2);
  CLI::App app("Shows what an event loop does besides sockets.", "weir-tour");
  weir::program::seconds_option(app, "--seconds", length, 0.1, 3600,
                                "to run; SIGINT or SIGTERM end it earlier");
  return sample::run(app, argc, argv, [&] {
    std::setvbuf(stdout, nullptr, _IOLBF, BUFSIZ);
    weir::EventLoop loop;
    // The callback runs on the loop, so it may do what a signal handler may not (signal-safety(7)).
    const weir::SignalSet signals(loop, {SIGINT, SIGTERM, SIGUSR1}, [&loop](int signal) {
      say(fmt::format("signal: {}", signal == SIGUSR1 ? "SIGUSR1" : "that is enough"));
      if (signal != SIGUSR1) loop.stop();
    });
    timers(loop, length / 4);
    tasks(loop);
    loop.run_after(length / 8, [] { std::raise(SIGUSR1); });
    loop.run_after(length, [&loop] { loop.stop(); });
    const std::jthread worker([&loop](const std::stop_token& stop) { work(loop, stop); });

    say("the loop starts");
    loop.run();
    numbers(loop);
    return 0;
  });
}
