#include "load/run.h"

#include <fmt/format.h>
#include <signal.h>

#include <algorithm>
#include <cstdlib>
#include <future>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "load/broadcast_client.h"
#include "load/churn_client.h"
#include "load/crowd.h"
#include "load/distribution.h"
#include "load/echo_client.h"
#include "load/live_line.h"
#include "load/report.h"
#include "load/server_watch.h"
#include "load/udp_client.h"
#include "load/worker.h"
#include "weir/net/reactor/event_loop.h"
#include "weir/net/reactor/loop_pool.h"
#include "weir/net/reactor/signal_set.h"

namespace weir::load {

namespace {

// The wait for answers that are in flight when the time is over.
constexpr Duration kGrace = std::chrono::seconds(5);
// With --messages: the longest wait for the next answer, in addition to the time between two
// messages of a schedule.
constexpr double kMostSilentSeconds = 10;
// The time to connect: kConnectTime, and one second for every kConnectsASecond connections.
constexpr Duration kConnectTime = std::chrono::seconds(10);
constexpr std::size_t kConnectsASecond = 1000;
constexpr Duration kMemorySamples = std::chrono::milliseconds(100);

// Runs on the loop of the main thread; the workers run on the loops of the pool.
class Run {
 public:
  Run(const Settings& settings, std::optional<ServerWatch> watch)
      : settings_(settings),
        watch_(watch),
        pool_(settings.threads, {.stall_threshold = Duration::zero()}) {}

  int run();

 private:
  enum class Phase { connecting, warming_up, running, holding, finishing, done };

  void make_workers();
  void destroy_workers();
  std::unique_ptr<Client> make_client(Worker& worker, std::size_t index);
  // Runs fn(worker) on each worker's loop.
  template <typename Fn>
  void on_workers(Fn fn) {
    for (std::size_t i = 0; i < workers_.size(); ++i) {
      pool_.loop(i).post([worker = workers_[i].get(), fn] { fn(*worker); });
    }
  }
  void begin();
  void measure();
  void measuring();
  void all_done();
  void time_is_over();
  void stop();
  void ask_for_numbers();
  void check_progress(const Numbers& interval);
  void show_interval(const Numbers& interval);
  int report();

  const Settings& settings_;
  std::optional<ServerWatch> watch_;
  EventLoop loop_{{.stall_threshold = Duration::zero()}};
  LoopPool pool_;
  Crowd crowd_{pool_};
  std::vector<std::unique_ptr<Worker>> workers_;
  LiveLine line_;
  Phase phase_ = Phase::connecting;
  bool interrupted_ = false;
  std::size_t still_connecting_ = 0;  // workers
  std::size_t still_running_ = 0;     // workers
  std::size_t answers_due_ = 0;       // for ask_for_numbers()
  int silent_seconds_ = 0;
  Numbers interval_;
  Numbers total_;
  TimePoint asked_ = Clock::now();
  TimePoint began_ = asked_;
  TimePoint held_from_;
  Duration held_{0};
  TimerId connect_timer_;
};

int Run::run() {
  const SignalSet signals(loop_, {SIGINT, SIGTERM}, [this](int signal) {
    if (std::exchange(interrupted_, true)) std::_Exit(128 + signal);
    time_is_over();
  });
  make_workers();
  if (settings_.mode == Mode::churn) {
    begin();  // churn measures the connecting, too
  } else {
    on_workers([](Worker& worker) { worker.connect(); });
    connect_timer_ = loop_.run_after(
        kConnectTime + std::chrono::seconds(settings_.connections / kConnectsASecond),
        [this] { on_workers([](Worker& worker) { worker.abandon(); }); });
  }
  loop_.run_every(std::chrono::seconds(1), [this] { ask_for_numbers(); });
  if (watch_) loop_.run_every(kMemorySamples, [this] { watch_->sample(); });
  loop_.run();
  line_.clear();
  destroy_workers();
  return report();
}

std::unique_ptr<Client> Run::make_client(Worker& worker, std::size_t index) {
  if (settings_.mode == Mode::churn) return std::make_unique<ChurnClient>(worker, index);
  if (settings_.one_to_many()) {
    if (index == 0) return std::make_unique<BroadcastSender>(worker, index, crowd_);
    return std::make_unique<BroadcastReceiver>(worker, index, crowd_);
  }
  if (settings_.mode == Mode::udp) return std::make_unique<UdpClient>(worker, index);
  return std::make_unique<EchoClient>(worker, index);
}

void Run::make_workers() {
  const std::size_t count = pool_.size();
  still_connecting_ = still_running_ = count;
  for (std::size_t i = 0; i < count; ++i) {
    const auto notify = [this](std::size_t Run::*left, void (Run::*then)()) {
      return [this, left, then] {
        loop_.post([this, left, then] {
          if (--(this->*left) == 0) (this->*then)();
        });
      };
    };
    workers_.push_back(std::make_unique<Worker>(
        pool_.loop(i), settings_, i, count,
        [this](Worker& worker, std::size_t index) { return make_client(worker, index); },
        Worker::Listener{.on_ready = notify(&Run::still_connecting_, &Run::begin),
                         .on_done = notify(&Run::still_running_, &Run::all_done)}));
  }
}

// The loops still run, because sockets leave epoll on their own thread. Adds the last numbers.
void Run::destroy_workers() {
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

void Run::begin() {
  if (phase_ != Phase::connecting) return;
  const bool warmup = settings_.warmup > Duration::zero();
  phase_ = warmup ? Phase::warming_up : Phase::running;
  loop_.cancel(connect_timer_);
  began_ = asked_ = Clock::now();
  on_workers([when = began_, warmup](Worker& worker) { worker.begin(when, !warmup); });
  if (warmup) {
    loop_.run_after(settings_.warmup, [this] { measure(); });
  } else {
    measuring();
  }
}

void Run::measure() {
  if (phase_ != Phase::warming_up) return;
  phase_ = Phase::running;
  began_ = Clock::now();
  on_workers([](Worker& worker) { worker.measure(); });
  measuring();
}

void Run::measuring() {
  if (watch_) watch_->begin();
  if (settings_.messages == 0 && settings_.mode != Mode::idle) {
    loop_.run_after(settings_.duration, [this] { time_is_over(); });
  }
}

// All workers are done.
void Run::all_done() {
  if (settings_.mode == Mode::idle && phase_ == Phase::running) {
    phase_ = Phase::holding;
    held_from_ = Clock::now();
    if (watch_) watch_->begin();
    loop_.run_after(settings_.duration, [this] { time_is_over(); });
    return;
  }
  if (phase_ != Phase::holding) stop();
}

// Messages in flight may still come back.
void Run::time_is_over() {
  if (phase_ == Phase::finishing || phase_ == Phase::done) return;
  if (watch_) watch_->end();
  if (phase_ == Phase::holding) {
    held_ = Clock::now() - held_from_;
    stop();
    return;
  }
  phase_ = Phase::finishing;
  on_workers([](Worker& worker) { worker.finish(); });
  loop_.run_after(kGrace, [this] { on_workers([](Worker& worker) { worker.abandon(); }); });
}

// Waits for numbers that were requested, which would be lost otherwise.
void Run::stop() {
  if (watch_) watch_->end();
  phase_ = Phase::done;
  if (answers_due_ == 0) loop_.stop();
}

void Run::ask_for_numbers() {
  if (answers_due_ > 0 || phase_ == Phase::done) return;  // a worker is slower than a second
  answers_due_ = workers_.size();
  on_workers([this](Worker& worker) {
    loop_.post([this, numbers = std::make_shared<Numbers>(worker.take_numbers())] {
      interval_.merge(*numbers);
      if (--answers_due_ > 0) return;
      total_.merge(interval_);
      show_interval(interval_);
      check_progress(interval_);
      interval_ = Numbers();
      if (phase_ == Phase::done) loop_.stop();
    });
  });
}

// With --messages the run would wait for ever for an answer that does not come.
void Run::check_progress(const Numbers& interval) {
  const bool waiting = phase_ == Phase::running &&
                       (settings_.messages > 0 || settings_.mode == Mode::idle) &&
                       interval.messages == 0;
  silent_seconds_ = waiting ? silent_seconds_ + 1 : 0;
  const double most = kMostSilentSeconds + (settings_.open_loop() ? 1 / settings_.rate : 0);
  if (silent_seconds_ < most || phase_ != Phase::running) return;
  total_.errors[fmt::format("ended early: nothing came back for {} s", silent_seconds_)] = 1;
  time_is_over();
}

void Run::show_interval(const Numbers& interval) {
  const TimePoint now = Clock::now();
  const double seconds = std::chrono::duration<double>(now - std::exchange(asked_, now)).count();
  if (phase_ == Phase::connecting) {
    line_.show(fmt::format("connecting: {} of {}", grouped(total_.connected),
                           grouped(settings_.sockets())));
    return;
  }
  const double elapsed =
      std::chrono::duration<double>(now - (phase_ == Phase::holding ? held_from_ : began_)).count();
  const std::string errors = grouped(total_.error_count());
  if (phase_ == Phase::holding) {
    line_.show(fmt::format("{:3.0f} s  holding {} connections{}  errors {}", elapsed,
                           grouped(total_.connected),
                           watch_ ? "  RSS " + short_size(watch_->usage().rss_peak) : "", errors));
    return;
  }
  const std::uint64_t messages = interval.messages + interval.warmup_messages;
  const double rate = static_cast<double>(messages) / seconds;
  line_.show(fmt::format(
      "{:3.0f} s  {}/s  {:.1f} MB/s  {}  errors {}", elapsed,
      grouped(static_cast<std::uint64_t>(rate)), rate * static_cast<double>(settings_.size) / 1e6,
      phase_ == Phase::warming_up
          ? "warm-up"
          : fmt::format("p50 {}  p99 {}", short_time(interval.latency.percentile(50)),
                        short_time(interval.latency.percentile(99))),
      errors));
}

int Run::report() {
  if (watch_ && watch_->usage().gone) total_.errors["the server's process ended"] = 1;
  const Report report{.settings = settings_,
                      .numbers = total_,
                      .elapsed = total_.messages > 0 ? total_.last_message - total_.measured_from
                                                     : Duration::zero(),
                      .held = held_,
                      .interrupted = interrupted_,
                      .server = watch_ ? std::optional(watch_->usage()) : std::nullopt};
  print_report(report);
  if (!settings_.json_path.empty()) {
    if (auto written = write_json(report); !written) return fail(written.error());
  }
  if (!settings_.hdr_path.empty()) {
    if (auto written = write_hdr(total_.latency, settings_.hdr_path); !written) {
      return fail(written.error());
    }
  }
  return total_.error_count() == 0 ? 0 : 1;
}

}  // namespace

int run(const Settings& settings) {
  std::optional<ServerWatch> watch;
  if (settings.pid != 0) {
    auto opened = ServerWatch::open(settings.pid);
    if (!opened) {
      fail(opened.error());
      return 2;
    }
    watch = *opened;
  }
  return Run(settings, watch).run();
}

}  // namespace weir::load
