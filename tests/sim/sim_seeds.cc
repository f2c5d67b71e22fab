// sim_seeds: runs seeds of the simulation on all processors, and reports those that fail, crash or
// hang, each with a command that repeats it.
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include <fmt/format.h>
#include <CLI/CLI.hpp>
#include <algorithm>
#include <atomic>
#include <chrono>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <memory>
#include <span>
#include <string>
#include <thread>
#include <vector>

#include "sim/scenario.h"

namespace weir::test::simulation {
namespace {

constexpr std::uint64_t kMostSeeds = 1'000'000'000;
constexpr std::size_t kMostWorkers = 64;
// A seed takes a millisecond, and shrinking one some tens of them.
constexpr double kHang = 60;

struct Arguments {
  std::uint64_t from = 1;
  std::uint64_t seeds = 1000;
  std::uint64_t seed = 0;  // 0: many
  std::uint64_t stop_after = 10;
  std::size_t workers = std::clamp<std::size_t>(std::thread::hardware_concurrency(), 1, 8);
  bool trace = false;
  bool twice = false;
  std::vector<std::string> parts;
  std::vector<std::string> faults;
  Limits limits;
};

double now() {
  return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count();
}

// What the workers share: they are processes, because a process has one world at a time.
struct Shared {
  std::atomic<std::uint64_t> next{0};  // seeds that were begun
  std::atomic<std::uint64_t> done{0};
  std::atomic<std::uint64_t> failures{0};
  std::array<std::atomic<std::uint64_t>, kMostWorkers> running{};
};

template <typename T>
T* shared_memory(std::size_t size) {
  void* const memory =
      ::mmap(nullptr, size, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
  if (memory == MAP_FAILED) {
    std::perror("sim_seeds: share memory between workers: mmap");
    std::exit(2);
  }
  return static_cast<T*>(memory);
}

class Run {
 public:
  explicit Run(const Arguments& arguments)
      : arguments_(arguments),
        shared_(*::new (shared_memory<void>(sizeof(Shared))) Shared),
        calls_(shared_memory<std::uint32_t>(arguments.seeds * sizeof(std::uint32_t)),
               arguments.seeds) {}

  int go() {
    for (std::size_t i = 0; i < arguments_.workers; ++i) start(i);
    while (!workers_.empty()) {
      reap();
      watch();
      show_progress();
      std::this_thread::sleep_for(std::chrono::milliseconds(20));
    }
    report();
    return shared_.failures == 0 ? 0 : 1;
  }

 private:
  struct Worker {
    pid_t pid;
    std::size_t number;
    std::uint64_t seed = 0;
    double since = now();
  };

  void start(std::size_t number) {
    const pid_t pid = ::fork();
    if (pid == 0) {
      work(shared_.running[number]);
      std::fflush(stdout);
      ::_exit(0);
    }
    workers_.push_back({.pid = pid, .number = number});
  }

  // In the worker.
  void work(std::atomic<std::uint64_t>& running) {
    while (shared_.failures < arguments_.stop_after) {
      const std::uint64_t index = shared_.next.fetch_add(1);
      if (index >= arguments_.seeds) break;
      const std::uint64_t seed = arguments_.from + index;
      running = seed;
      calls_[index] = run(seed);
      ++shared_.done;
    }
    running = 0;
  }

  std::uint32_t run(std::uint64_t seed) {
    Outcome outcome = run_seed(seed, arguments_.limits);
    if (arguments_.twice && outcome.failure.empty() &&
        run_seed(seed, arguments_.limits).digest != outcome.digest) {
      outcome.failure = "the second run of this seed did something else";
    }
    if (!outcome.failure.empty()) {
      ++shared_.failures;
      tell(seed, outcome.failure, shrink(seed).options());
    }
    return static_cast<std::uint32_t>(outcome.calls);
  }

  static void tell(std::uint64_t seed, const std::string& why, const std::string& options) {
    fmt::print("\nseed {}: {}\n  sim_seeds --seed {} --trace{}\n", seed, why, seed, options);
    std::fflush(stdout);
  }

  // Workers that ended; one that crashed is replaced.
  void reap() {
    for (std::size_t i = workers_.size(); i-- > 0;) {
      int status = 0;
      const Worker worker = workers_[i];
      if (::waitpid(worker.pid, &status, WNOHANG) != worker.pid) continue;
      workers_.erase(workers_.begin() + static_cast<std::ptrdiff_t>(i));
      if (WIFEXITED(status) && WEXITSTATUS(status) == 0) continue;
      ++shared_.failures;
      const std::string why = WIFSIGNALED(status)
                                  ? fmt::format("crashed with signal {}", WTERMSIG(status))
                                  : fmt::format("ended with code {}", WEXITSTATUS(status));
      tell(shared_.running[worker.number], why, "");
      if (shared_.failures < arguments_.stop_after) start(worker.number);
    }
  }

  void watch() {
    for (Worker& worker : workers_) {
      const std::uint64_t seed = shared_.running[worker.number];
      if (seed != worker.seed) {
        worker.seed = seed;
        worker.since = now();
      } else if (now() - worker.since > kHang) {
        ::kill(worker.pid, SIGKILL);
      }
    }
  }

  void show_progress() {
    if (!terminal_ || now() < shown_ + 1 || shared_.done == 0) return;
    shown_ = now();
    const auto done = static_cast<double>(shared_.done);
    const double left =
        (shown_ - started_) / done * static_cast<double>(arguments_.seeds) - (shown_ - started_);
    fmt::print(stderr, "\r{} of {} seeds, about {:.0f} s left  ", shared_.done.load(),
               arguments_.seeds, left);
  }

  void report() {
    if (terminal_) std::fputc('\n', stderr);
    const double seconds = now() - started_;
    const auto ran = std::partition(calls_.begin(), calls_.end(), [](auto n) { return n > 0; });
    const auto median = calls_.begin() + (ran - calls_.begin()) / 2;
    std::nth_element(calls_.begin(), median, ran);
    fmt::print("{} seeds in {:.1f} s, {:.0f} a minute; median {} calls a seed; {} failed\n",
               shared_.done.load(), seconds, static_cast<double>(shared_.done) / seconds * 60,
               ran == calls_.begin() ? 0 : *median, shared_.failures.load());
  }

  const Arguments& arguments_;
  Shared& shared_;
  std::span<std::uint32_t> calls_;  // system calls of each seed
  std::vector<Worker> workers_;
  double shown_ = 0;
  const bool terminal_ = ::isatty(STDERR_FILENO) != 0;
  const double started_ = now();
};

int run_one(const Arguments& arguments) {
  std::function<void(const std::string&)> trace;
  if (arguments.trace) trace = [](const std::string& line) { std::puts(line.c_str()); };
  const Outcome outcome = run_seed(arguments.seed, arguments.limits, trace);
  fmt::print("seed {}: {}; {} calls, {:.6f} s of virtual time, digest {:016x}\n", arguments.seed,
             outcome.failure.empty() ? "passed" : outcome.failure, outcome.calls,
             std::chrono::duration<double>(outcome.elapsed).count(), outcome.digest);
  return outcome.failure.empty() ? 0 : 1;
}

std::uint32_t bits_of(const std::vector<std::string>& names, auto name, std::size_t count) {
  std::uint32_t bits = 0;
  for (std::size_t i = 0; i < count; ++i) {
    if (std::ranges::find(names, name(i)) != names.end()) bits |= 1U << i;
  }
  return bits;
}

std::vector<std::string> names_of(auto name, std::size_t count) {
  std::vector<std::string> names{"none"};
  for (std::size_t i = 0; i < count; ++i) names.emplace_back(name(i));
  return names;
}

int run(int argc, char** argv) {
  const auto part_name = [](std::size_t i) { return name_of(static_cast<PartKind>(i)); };
  Arguments arguments;
  CLI::App app("Runs programs of weir in a simulated network, one for each seed, with faults");
  app.add_option("--seeds", arguments.seeds, "number of seeds")
      ->capture_default_str()
      ->check(CLI::Range(std::uint64_t{1}, kMostSeeds));
  app.add_option("--from", arguments.from, "the first seed")->capture_default_str();
  app.add_option("--workers", arguments.workers, "processes")
      ->capture_default_str()
      ->check(CLI::Range(std::size_t{1}, kMostWorkers));
  app.add_option("--stop-after", arguments.stop_after, "failures after which the rest is not run")
      ->capture_default_str();
  app.add_flag("--twice", arguments.twice, "run each seed twice and compare the digests");
  app.add_option("--seed", arguments.seed, "only this seed")->check(CLI::PositiveNumber);
  app.add_flag("--trace", arguments.trace, "with --seed: print each system call");
  app.add_option("--parts", arguments.parts, "only these parts")
      ->delimiter(',')
      ->check(CLI::IsMember(names_of(part_name, kPartKinds)));
  app.add_option("--faults", arguments.faults, "only these faults, or none")
      ->delimiter(',')
      ->check(CLI::IsMember(names_of(name_of_fault, kFaultKinds)));
  app.add_option("--clients", arguments.limits.clients, "at most this number of clients a part");
  app.add_option("--messages", arguments.limits.messages, "at most this number of messages");
  CLI11_PARSE(app, argc, argv);
  if (!arguments.parts.empty()) {
    arguments.limits.parts = bits_of(arguments.parts, part_name, kPartKinds);
  }
  if (!arguments.faults.empty()) {
    arguments.limits.faults = bits_of(arguments.faults, name_of_fault, kFaultKinds);
  }
  ::setenv("WEIR_LOG", "off", 0);
  return arguments.seed != 0 ? run_one(arguments) : Run(arguments).go();
}

}  // namespace
}  // namespace weir::test::simulation

int main(int argc, char** argv) { return weir::test::simulation::run(argc, argv); }
