// soak: clients, a chaos proxy and servers on this machine for a long time, with all deadlines
// divided. At the end no byte was wrong, and all resources are back. See --help.
#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <string>
#include <vector>

#include "soak/clients.h"
#include "soak/fleet.h"
#include "soak/proxy.h"
#include "support/loops.h"
#include "support/memory.h"
#include "weir/net/reactor/event_loop.h"

namespace weir::test::soak {
namespace {

using namespace std::chrono_literals;

struct Arguments {
  Settings settings;
  double minutes = 1;
  std::size_t at_a_time = 64;
  std::uint64_t least = 1;
  double hand_over = 10;
  double squeeze = 5;
  bool serve = false;
  double period = 0;
  std::string point;
};

constexpr Duration kSqueeze = 200ms;

Duration seconds(double value) { return Duration(static_cast<std::int64_t>(value * 1e9)); }
double seconds(Duration value) { return std::chrono::duration<double>(value).count(); }
double mib(double bytes) { return bytes / (1024 * 1024); }

// Medians of the memory at the end of the warm-up and at the end.
struct Drift {
  double first = 0;
  double last = 0;
  bool within() const { return last - first <= 1024 * 1024 + first / 100; }
};

// The first fifth is the warm-up; the tenth after it is compared with the last tenth.
Drift drift_of(const std::vector<Sample>& samples) {
  const auto median = [&](std::size_t from, std::size_t to) {
    std::vector<std::uint64_t> values;
    for (std::size_t i = from; i < to; ++i) values.push_back(samples[i].memory);
    if (values.empty()) return 0.0;
    std::ranges::nth_element(values,
                             values.begin() + static_cast<std::ptrdiff_t>(values.size() / 2));
    return static_cast<double>(values[values.size() / 2]);
  };
  const std::size_t n = samples.size();
  return {.first = median(n / 5, n / 5 + n / 10 + 1), .last = median(n - n / 10 - 1, n)};
}

class Soak {
 public:
  Soak(const Arguments& arguments, const std::string& program)
      : arguments_(arguments),
        time_(seconds(arguments.minutes * 60)),
        period_(std::clamp<Duration>(time_ / 60, 100ms, 1s)),
        fleet_(program, arguments.settings, period_),
        proxy_(loop_, arguments.settings, fleet_.steady(), fleet_.replaced()) {}

  int run() {
    const auto address = proxy_.listen();
    if (!address) return fail(address.error());
    Clients clients(loop_, arguments_.settings, *address, arguments_.at_a_time);
    wait_for_samples(2);
    if (fleet_.samples().empty()) expect(false, "the steady server printed no sample");
    const Sample idle_server = fleet_.samples().empty() ? Sample{} : fleet_.samples().back();
    const Sample idle = take_sample(loop_);

    load(clients);

    const bool quiet = run_until(
        loop_, [&] { return clients.done() && proxy_.links() + proxy_.connections() == 0; },
        arguments_.settings.scaled(600s) + 20s);
    expect(quiet, "{} connections had not ended long after the last deadline",
           proxy_.connections());
    wait_for_samples(3);
    expect_back("this process", idle, take_sample(loop_));
    if (!fleet_.samples().empty()) expect_back("server", idle_server, fleet_.samples().back());
    fleet_.end();
    judge(clients);
    return report(clients);
  }

 private:
  template <typename... Args>
  void expect(bool good, fmt::format_string<Args...> text, Args&&... args) {
    if (!good) failures_.push_back(fmt::format(text, std::forward<Args>(args)...));
  }

  void wait_for_samples(std::size_t more) {
    const std::size_t before = fleet_.samples().size();
    const bool arrived = run_until(
        loop_,
        [&] {
          fleet_.poll();
          return fleet_.samples().size() >= before + more;
        },
        10s);
    expect(arrived, "the steady server stopped to print samples");
  }

  void load(Clients& clients) {
    const TimePoint begin = Clock::now();
    std::vector<TimerId> timers;
    timers.push_back(loop_.run_every(period_, [&] {
      fleet_.poll();
      Sample sample = take_sample(loop_);
      sample.connections = proxy_.connections();
      samples_.push_back(sample);
      progress(clients, time_ - (Clock::now() - begin));
    }));
    timers.push_back(loop_.run_every(seconds(arguments_.hand_over), [&] { fleet_.hand_over(); }));
    timers.push_back(loop_.run_every(seconds(arguments_.squeeze), [&] {
      clients.set_squeeze(true);
      fleet_.squeeze(true);
      loop_.run_after(kSqueeze, [&] {
        fleet_.squeeze(false);
        clients.set_squeeze(false);
      });
    }));
    clients.start();
    run_for(loop_, time_);
    for (const TimerId timer : timers) loop_.cancel(timer);
    clients.stop();
    server_samples_ = fleet_.samples();
  }

  void progress(const Clients& clients, Duration left) {
    if (Clock::now() < shown_ + std::min<Duration>(time_ / 5, 10s)) return;
    shown_ = Clock::now();
    const Clients::Counts& counts = clients.counts();
    fmt::print(
        stderr, "{} connections, {} lost, {} corrupted; server {:.1f} MiB; {:.0f} s left\n",
        counts.begun, counts.lost, counts.corrupted,
        fleet_.samples().empty() ? 0.0 : mib(static_cast<double>(fleet_.samples().back().memory)),
        std::max(0.0, seconds(left)));
  }

  void expect_back(const char* who, const Sample& before, const Sample& after) {
    const auto same = [&](const char* what, std::uint64_t first, std::uint64_t last) {
      expect(first == last, "{}: {} {} before, {} after", who, what, first, last);
    };
    same("descriptors", before.descriptors, after.descriptors);
    same("connections", before.connections, after.connections);
    same("timers", before.timers, after.timers);
    same("tasks", before.tasks, after.tasks);
    same("buffered bytes", before.buffered, after.buffered);
  }

  void judge(const Clients& clients) {
    const Clients::Counts& counts = clients.counts();
    for (const std::string& failure : clients.failures()) failures_.push_back(failure);
    for (const std::string& failure : fleet_.failures()) failures_.push_back(failure);
    expect(counts.begun >= arguments_.least, "{} connections, not {}", counts.begun,
           arguments_.least);
    expect(fleet_.hand_overs() > 0, "no hand-over in this time");
    expect(fleet_.squeezes() > 0, "no squeeze in this time");
    for (std::size_t i = 1; i < kChaosKinds; ++i) {
      expect(proxy_.applied()[i] > 0, "no {} in this time", name_of(static_cast<Chaos>(i)));
    }
    expect_drift("server", server_samples_);
    // The clients and the proxy reach their largest number of buffers later than the server.
    constexpr double kShortest = 100;  // seconds: a fifth of it is the warm-up
    if (seconds(time_) >= kShortest) expect_drift("this process", samples_);
  }

  void expect_drift(const char* who, const std::vector<Sample>& samples) {
    if (kSanitized) return;  // freed memory is kept
    const Drift drift = samples.empty() ? Drift{} : drift_of(samples);
    expect(drift.within(), "{}: memory grew from {:.2f} to {:.2f} MiB", who, mib(drift.first),
           mib(drift.last));
  }

  int report(const Clients& clients) {
    const Clients::Counts& counts = clients.counts();
    const Drift server = drift_of(server_samples_);
    const Drift own = drift_of(samples_);
    fmt::print("connections  {} ({:.0f} a second), {} complete, {} cut, {} lost, {} corrupted\n",
               counts.begun, static_cast<double>(counts.begun) / seconds(time_), counts.complete,
               counts.cut, counts.lost, counts.corrupted);
    fmt::print("received     {:.1f} MiB\n", mib(static_cast<double>(counts.bytes)));
    for (std::size_t i = 1; i < kChaosKinds; ++i) {
      fmt::print("{:<12} {}\n", name_of(static_cast<Chaos>(i)), proxy_.applied()[i]);
    }
    fmt::print("squeezes     {}\nhand-overs   {}\n", fleet_.squeezes(), fleet_.hand_overs());
    fmt::print("memory       server {:.2f} to {:.2f} MiB, this process {:.2f} to {:.2f} MiB\n",
               mib(server.first), mib(server.last), mib(own.first), mib(own.last));
    for (const std::string& failure : failures_) fmt::print("FAILED: {}\n", failure);
    if (failures_.empty()) return 0;
    fmt::print(
        "repeat: soak --seed {} --minutes {} --scale {} --clients {} --hand-over {} "
        "--squeeze {}\n",
        arguments_.settings.seed, arguments_.minutes, arguments_.settings.scale,
        arguments_.at_a_time, arguments_.hand_over, arguments_.squeeze);
    return 1;
  }

  const Arguments& arguments_;
  const Duration time_;
  const Duration period_;
  EventLoop loop_;
  Fleet fleet_;
  Proxy proxy_;
  std::vector<Sample> samples_;
  std::vector<Sample> server_samples_;
  std::vector<std::string> failures_;
  TimePoint shown_;
};

int main_of(int argc, char** argv) {
  Arguments arguments;
  CLI::App app(
      "Runs clients, a chaos proxy and servers on this machine with short deadlines, and checks "
      "that no byte is wrong, no connection is lost and all resources are given back.",
      "soak");
  app.add_option("--minutes", arguments.minutes, "how long")
      ->capture_default_str()
      ->check(CLI::Range(0.05, 24.0 * 60));
  app.add_option("--seed", arguments.settings.seed, "draws what happens to each connection")
      ->capture_default_str();
  app.add_option("--scale", arguments.settings.scale, "the deadlines are divided by this")
      ->capture_default_str()
      ->check(CLI::Range(1.0, 1000.0));
  app.add_option("--clients", arguments.at_a_time, "connections at a time")
      ->capture_default_str()
      ->check(CLI::Range(1, 1000));
  app.add_option("--least", arguments.least, "fail after fewer connections")->capture_default_str();
  app.add_option("--hand-over", arguments.hand_over, "seconds between hand-overs")
      ->capture_default_str()
      ->check(CLI::Range(1.0, 3600.0));
  app.add_option("--squeeze", arguments.squeeze, "seconds between squeezes of the descriptors")
      ->capture_default_str()
      ->check(CLI::Range(1.0, 3600.0));
  // Of the servers that this program starts.
  app.add_flag("--serve", arguments.serve)->group("");
  app.add_option("--period", arguments.period)->group("");
  app.add_option("--point", arguments.point)->group("");
  CLI11_PARSE(app, argc, argv);
  if (arguments.serve) {
    return run_server({.common = arguments.settings,
                       .period = seconds(arguments.period),
                       .point = arguments.point});
  }
  ::setenv("WEIR_LOG", "error", 0);  // what the chaos does is no news
  return Soak(arguments, "/proc/self/exe").run();
}

}  // namespace
}  // namespace weir::test::soak

int main(int argc, char** argv) { return weir::test::soak::main_of(argc, argv); }
