#include "load/echo_run.h"

#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <future>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "load/echo_worker.h"
#include "load/report.h"
#include "weir/net/reactor/event_loop.h"
#include "weir/net/reactor/loop_pool.h"
#include "weir/net/reactor/signal_set.h"

namespace weir::load {

namespace {

// For the answers that are still on their way when the time is over.
constexpr Duration kGrace = std::chrono::seconds(5);
// For connecting: this, and a second more for each so many connections.
constexpr Duration kConnectTime = std::chrono::seconds(10);
constexpr std::size_t kConnectsASecond = 1000;

// A line on stderr that is rewritten in place; plain lines when that is not a terminal.
class LiveLine {
 public:
  void show(const std::string& line) {
    fmt::print(stderr, "{}{}{}", terminal_ ? "\r\x1b[K" : "", line, terminal_ ? "" : "\n");
    std::fflush(stderr);
  }
  void clear() {
    if (terminal_) fmt::print(stderr, "\r\x1b[K");
  }

 private:
  const bool terminal_ = isatty(STDERR_FILENO) == 1;
};

// Lives on the main thread's loop; the workers on those of the pool.
class EchoRun {
 public:
  explicit EchoRun(const EchoSettings& settings) : settings_(settings), pool_(settings.threads) {}

  int run();

 private:
  enum class Phase { connecting, running, finishing, done };

  void make_workers();
  void destroy_workers();
  // Runs fn(worker) on each worker's loop.
  template <typename Fn>
  void on_workers(Fn fn) {
    for (std::size_t i = 0; i < workers_.size(); ++i) {
      pool_.loop(i).post([worker = workers_[i].get(), fn] { fn(*worker); });
    }
  }
  void begin();
  void finish();
  void time_is_over();
  void ask_for_numbers();
  void show_interval(const Numbers& interval);

  const EchoSettings& settings_;
  const Pattern pattern_;
  EventLoop loop_;
  LoopPool pool_;
  std::vector<std::unique_ptr<EchoWorker>> workers_;
  LiveLine line_;
  Phase phase_ = Phase::connecting;
  bool interrupted_ = false;
  std::size_t still_connecting_ = 0;  // workers
  std::size_t still_running_ = 0;     // workers
  std::size_t answers_due_ = 0;       // to ask_for_numbers()
  Numbers interval_;
  Numbers total_;
  TimePoint asked_ = Clock::now();
  TimePoint began_ = asked_;
  TimerId connect_timer_;
};

int EchoRun::run() {
  const SignalSet signals(loop_, {SIGINT, SIGTERM}, [this](int signal) {
    if (std::exchange(interrupted_, true)) std::_Exit(128 + signal);
    time_is_over();
  });
  make_workers();
  on_workers([](EchoWorker& worker) { worker.connect(); });
  connect_timer_ =
      loop_.run_after(kConnectTime + std::chrono::seconds(settings_.connections / kConnectsASecond),
                      [this] { on_workers([](EchoWorker& worker) { worker.abandon(); }); });
  loop_.run_every(std::chrono::seconds(1), [this] { ask_for_numbers(); });
  loop_.run();

  line_.clear();
  TimePoint ended = began_;
  for (const auto& worker : workers_) ended = std::max(ended, worker->last_message());
  destroy_workers();
  print_report(settings_, total_, ended - began_);
  if (!settings_.json_path.empty()) {
    if (auto written = write_json(settings_, total_, ended - began_); !written) {
      return fail(written.error());
    }
  }
  return total_.error_count() == 0 ? 0 : 1;
}

void EchoRun::make_workers() {
  const std::size_t count = pool_.size();
  still_connecting_ = still_running_ = count;
  for (std::size_t i = 0; i < count; ++i) {
    const auto tell = [this](std::size_t EchoRun::*left, void (EchoRun::*then)()) {
      return [this, left, then] {
        loop_.post([this, left, then] {
          if (--(this->*left) == 0) (this->*then)();
        });
      };
    };
    workers_.push_back(std::make_unique<EchoWorker>(
        pool_.loop(i), settings_, pattern_, i, count,
        EchoWorker::Listener{.on_connected = tell(&EchoRun::still_connecting_, &EchoRun::begin),
                             .on_done = tell(&EchoRun::still_running_, &EchoRun::finish)}));
  }
}

// Their loops still run: sockets leave epoll on their own thread. Numbers not told yet are added.
void EchoRun::destroy_workers() {
  for (std::size_t i = 0; i < workers_.size(); ++i) {
    std::promise<Numbers> rest;
    pool_.loop(i).post([&] {
      workers_[i]->close();
      rest.set_value(workers_[i]->take_numbers());
    });
    total_.merge(rest.get_future().get());
  }
  pool_.stop();
}

void EchoRun::begin() {
  if (phase_ != Phase::connecting) return;
  phase_ = Phase::running;
  loop_.cancel(connect_timer_);
  began_ = asked_ = Clock::now();
  on_workers([](EchoWorker& worker) { worker.begin(); });
  loop_.run_after(settings_.duration, [this] { time_is_over(); });
}

// All workers are done.
void EchoRun::finish() {
  phase_ = Phase::done;
  loop_.stop();
}

// What is in flight may still come back.
void EchoRun::time_is_over() {
  if (phase_ == Phase::finishing) return;
  phase_ = Phase::finishing;
  on_workers([](EchoWorker& worker) { worker.finish(); });
  loop_.run_after(kGrace, [this] { on_workers([](EchoWorker& worker) { worker.abandon(); }); });
}

void EchoRun::ask_for_numbers() {
  if (answers_due_ > 0) return;  // a worker is slower than a second
  answers_due_ = workers_.size();
  on_workers([this](EchoWorker& worker) {
    loop_.post([this, numbers = std::make_shared<Numbers>(worker.take_numbers())] {
      interval_.merge(*numbers);
      if (--answers_due_ > 0) return;
      total_.merge(interval_);
      show_interval(interval_);
      interval_ = Numbers();
    });
  });
}

void EchoRun::show_interval(const Numbers& interval) {
  const TimePoint now = Clock::now();
  const double seconds = std::chrono::duration<double>(now - std::exchange(asked_, now)).count();
  if (phase_ == Phase::connecting) {
    line_.show(fmt::format("connecting: {} of {}", grouped(total_.connected),
                           grouped(settings_.connections)));
    return;
  }
  const double rate = static_cast<double>(interval.messages) / seconds;
  line_.show(fmt::format(
      "{:3.0f} s  {}/s  {:.1f} MB/s  p50 {}  p99 {}  errors {}",
      std::chrono::duration<double>(now - began_).count(),
      grouped(static_cast<std::uint64_t>(rate)), rate * static_cast<double>(settings_.size) / 1e6,
      short_time(interval.latency.percentile(50)), short_time(interval.latency.percentile(99)),
      grouped(total_.error_count())));
}

}  // namespace

int run_echo(const EchoSettings& settings) { return EchoRun(settings).run(); }

}  // namespace weir::load
