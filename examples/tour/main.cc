// weir-tour: the event loop by itself, without a network: timers, signals, work that comes from
// another thread, and the loop's own numbers. It runs for some seconds and says what it does.
//
// What it takes care of: the signals are taken before the other thread is started, which inherits
// that they are blocked; nothing is shared between the threads but the loop's mailbox; the thread
// is told to end and waited for before the loop goes.

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

// Says a line, with the time since the start.
void say(const std::string& line) {
  static const weir::TimePoint start = weir::Clock::now();
  const Milliseconds since = weir::Clock::now() - start;
  std::fputs(fmt::format("{:8.1f} ms  {}\n", since.count(), line).c_str(), stdout);
}

// Timers run on the loop's thread, never early, never from inside the call that sets them.
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

// What takes long is done on another thread, which hands over values. (Handing over a reference to
// something of the loop's would be a bug: see examples/worker_pool for answers to a connection.)
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

// What the loop has done, counted by itself.
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
                                "it takes; SIGINT or SIGTERM end it before");
  return sample::run(app, argc, argv, [&] {
    std::setvbuf(stdout, nullptr, _IOLBF, BUFSIZ);
    weir::EventLoop loop;
    // A signal is a callback on the loop like any other, free to do what it likes.
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
