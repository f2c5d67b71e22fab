// sim_golden: runs random scripts of socket calls on the simulated kernel and on the real one, and
// compares the results, the errnos and the epoll events of each step. Talks only to loopback.
#include <fcntl.h>
#include <fmt/format.h>
#include <linux/sockios.h>
#include <netinet/in.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include <CLI/CLI.hpp>
#include <array>
#include <chrono>
#include <cstdio>
#include <cstring>
#include <map>
#include <string>
#include <thread>
#include <vector>

#include "sim/golden.h"
#include "sim/listener_script.h"
#include "weir/net/sim/internal/kernel.h"
#include "weir/net/sim/internal/random.h"

namespace weir::test::simulation {
namespace {

using internal::SysTable;
using internal::sim::Kernel;
using internal::sim::Random;

constexpr std::uint64_t kMostShown = 3;  // scripts that differ, with all their steps
constexpr int kRepetitions = 5;          // of a script that differs, after pauses
constexpr std::size_t kMostKinds = 20;   // kinds of differences in the summary

// One run of a script on one kernel. Both ends of a connection, watched by one epoll set.
class Script {
 public:
  Script(SysTable& table, std::uint64_t number) : table_(table), random_(number), number_(number) {}

  std::vector<std::string> run() {
    const bool opened = open();
    if (opened) {
      steps();
    } else {
      log_.emplace_back("could not open");
    }
    for (const int fd : {ends_[0], ends_[1], listener_, epoll_}) {
      if (fd >= 0) table_.close(fd);
    }
    return std::move(log_);
  }

 private:
  static constexpr std::array<const char*, 2> kNames{"A", "B"};

  void log(int end, std::string_view call, ssize_t result) {
    log_.push_back(fmt::format("{}.{} = {}", kNames[static_cast<std::size_t>(end)], call,
                               result_text(result)));
  }

  bool open() {
    is_unix_ = random_.below(3) == 0;
    epoll_ = table_.epoll_create1(0);
    return connect() && watch(0) && watch(1);
  }

  bool connect() {
    listener_ = open_stream(table_, is_unix_);
    const SocketAddress wanted = address_of_script(is_unix_, number_);
    if (table_.bind(listener_, wanted.data(), wanted.size()) < 0) return false;
    if (table_.listen(listener_, 8) < 0) return false;
    const SocketAddress name = own_address(table_, listener_);
    ends_[0] = open_stream(table_, is_unix_);
    table_.connect(ends_[0], name.data(), name.size());
    if (!accept()) return false;
    for (const int fd : ends_) {  // Nagle's algorithm holds small segments back
      const int on = 1;
      if (!is_unix_) table_.setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
    }
    return true;
  }

  bool accept() {
    constexpr int kTries = 1000;
    for (int i = 0; i < kTries && ends_[1] < 0; ++i) {
      ends_[1] = table_.accept4(listener_, nullptr, nullptr, SOCK_NONBLOCK | SOCK_CLOEXEC);
    }
    return ends_[1] >= 0;
  }

  std::uint32_t mask() {
    constexpr std::array<std::uint32_t, 4> kMasks{EPOLLIN | EPOLLOUT | EPOLLRDHUP, EPOLLIN,
                                                  EPOLLIN | EPOLLRDHUP, EPOLLOUT};
    const std::uint32_t events = kMasks[random_.below(kMasks.size())];
    return random_.below(3) == 0 ? events | EPOLLET : events;
  }

  bool watch(int end) {
    epoll_event event{};
    event.events = mask();
    event.data.u64 = static_cast<std::uint64_t>(end);
    return table_.epoll_ctl(epoll_, EPOLL_CTL_ADD, ends_[static_cast<std::size_t>(end)], &event) ==
           0;
  }

  void look() {
    if (!is_unix_) settle(table_, ends_);
    std::array<epoll_event, 8> events{};
    const timespec none{};
    const int count = table_.epoll_pwait2(epoll_, events.data(), events.size(), &none);
    std::array<std::uint32_t, 2> seen{};
    for (int i = 0; i < count; ++i) {
      const epoll_event& event = events[static_cast<std::size_t>(i)];
      seen[event.data.u64] = event.events;
    }
    log_.push_back(fmt::format("events A {:#x} B {:#x}", seen[0], seen[1]));
  }

  void steps() {
    look();
    const std::uint64_t count = 4 + random_.below(16);
    for (std::uint64_t i = 0; i < count; ++i) {
      const int end = static_cast<int>(random_.below(2));
      step(end, ends_[static_cast<std::size_t>(end)]);
      look();
    }
  }

  // Draws the same numbers whether or not the end is still open.
  void step(int end, int fd) {
    const std::uint64_t what = random_.below(20);
    const std::uint64_t size = 1 + random_.below(3000);
    const std::uint64_t detail = random_.below(8);
    const std::uint32_t new_mask = mask();
    if (fd < 0) return;
    std::array<char, 4096> bytes{};
    if (what < 6) {
      log(end, "send", table_.send(fd, bytes.data(), size, MSG_NOSIGNAL));
    } else if (what < 12) {
      log(end, "recv", table_.recv(fd, bytes.data(), size, 0));
    } else if (what == 12) {
      const int how = detail == 0 ? SHUT_RD : detail == 1 ? SHUT_RDWR : SHUT_WR;
      log(end, fmt::format("shutdown({})", how), table_.shutdown(fd, how));
    } else if (what == 13) {
      log(end, "SO_ERROR", take_error(table_, fd));
    } else if (what == 14) {
      close(end, fd, detail);
    } else if (what < 17) {
      epoll_event event{};
      event.events = new_mask;
      event.data.u64 = static_cast<std::uint64_t>(end);
      log(end, "mod", table_.epoll_ctl(epoll_, EPOLL_CTL_MOD, fd, &event));
    } else if (what == 17) {
      int unread = 0;
      log(end, "SIOCINQ", table_.ioctl(fd, SIOCINQ, &unread) < 0 ? -1 : unread);
    } else if (what == 18) {
      sockaddr_storage name{};
      socklen_t length = sizeof(name);
      log(end, "getpeername", table_.getpeername(fd, reinterpret_cast<sockaddr*>(&name), &length));
    } else {
      remove_or_add(end, fd, new_mask);
    }
  }

  void close(int end, int fd, std::uint64_t detail) {
    if (detail > 3) return;
    if (detail == 0) {
      const linger reset{.l_onoff = 1, .l_linger = 0};
      table_.setsockopt(fd, SOL_SOCKET, SO_LINGER, &reset, sizeof(reset));
    }
    log(end, detail == 0 ? "reset" : "close", table_.close(fd));
    ends_[static_cast<std::size_t>(end)] = -1;
  }

  void remove_or_add(int end, int fd, std::uint32_t events) {
    epoll_event event{};
    event.events = events;
    event.data.u64 = static_cast<std::uint64_t>(end);
    if (table_.epoll_ctl(epoll_, EPOLL_CTL_DEL, fd, &event) < 0) {
      log(end, "add", table_.epoll_ctl(epoll_, EPOLL_CTL_ADD, fd, &event));
    } else {
      log(end, "del", 0);
    }
  }

  SysTable& table_;
  Random random_;
  const std::uint64_t number_;
  int epoll_ = -1;
  int listener_ = -1;
  std::array<int, 2> ends_{-1, -1};
  bool is_unix_ = false;
  std::vector<std::string> log_;
};

// Every third script is about listening sockets.
std::vector<std::string> run_script(SysTable& table, std::uint64_t number) {
  if (number % 3 == 0) return run_listener_script(table, number);
  return Script(table, number).run();
}

// The simulated kernel as fast as loopback: everything has arrived before the next call.
std::vector<std::string> simulated(std::uint64_t number) {
  sim::Faults faults;
  faults.min_latency = faults.max_latency = faults.call_time = Duration::zero();
  faults.send_buffer = faults.receive_buffer = 1024 * 1024;
  Kernel kernel(number, faults);
  const internal::sys::ScopedTable use(&kernel);
  return run_script(kernel, number);
}

std::vector<std::string> real(std::uint64_t number) {
  return run_script(internal::sys::kernel_table(), number);
}

void print(std::uint64_t number, const std::vector<std::string>& simulation,
           const std::vector<std::string>& kernel) {
  fmt::print("script {}: the kernel, and where it differs the simulation\n", number);
  for (std::size_t i = 0; i < std::max(simulation.size(), kernel.size()); ++i) {
    const std::string ours = i < simulation.size() ? simulation[i] : "nothing";
    const std::string theirs = i < kernel.size() ? kernel[i] : "nothing";
    fmt::print("  {:<32}{}\n", theirs, ours == theirs ? "" : "  ! " + ours);
  }
}

// Without the numbers of bytes, so that differences of one kind count together.
std::string kind_of(const std::string& before, const std::string& theirs, const std::string& ours) {
  return fmt::format("after [{}]: kernel [{}], simulation [{}]", before, theirs, ours);
}

int compare(std::uint64_t from, std::uint64_t count) {
  std::map<std::string, int> kinds;
  std::uint64_t different = 0;
  const auto started = std::chrono::steady_clock::now();
  for (std::uint64_t number = from; number < from + count; ++number) {
    const auto simulation = simulated(number);
    auto kernel = real(number);
    // The real kernel may be short of something, such as room for sockets in TIME_WAIT or, on a
    // busy machine, the processor that delivers packets.
    for (int again = 0; again < kRepetitions && simulation != kernel; ++again) {
      std::this_thread::sleep_for(std::chrono::milliseconds(10 << again));
      kernel = real(number);
    }
    if (simulation == kernel) continue;
    if (different++ < kMostShown) print(number, simulation, kernel);
    std::size_t i = 0;
    while (i < kernel.size() && i < simulation.size() && simulation[i] == kernel[i]) ++i;
    const auto at = [i](const auto& log) { return i < log.size() ? log[i] : std::string("end"); };
    ++kinds[kind_of(i > 0 ? kernel[i - 1] : "start", at(kernel), at(simulation))];
  }
  std::vector<std::pair<int, std::string>> sorted;
  sorted.reserve(kinds.size());
  for (const auto& [kind, times] : kinds) sorted.emplace_back(times, kind);
  std::ranges::sort(sorted, std::greater<>());
  if (sorted.size() > kMostKinds) sorted.resize(kMostKinds);
  for (const auto& [times, kind] : sorted) fmt::print("{:>6} times {}\n", times, kind);
  const double seconds =
      std::chrono::duration<double>(std::chrono::steady_clock::now() - started).count();
  fmt::print("{} scripts in {:.1f} s: {} differ\n", count, seconds, different);
  return different == 0 ? 0 : 1;
}

int run(int argc, char** argv) {
  std::uint64_t from = 1;
  std::uint64_t count = 10000;
  std::uint64_t script = 0;
  CLI::App app("Compares the simulated kernel with the real one by random scripts of socket calls");
  app.add_option("--scripts", count, "number of scripts")->capture_default_str();
  app.add_option("--from", from, "the first script")->capture_default_str();
  app.add_option("--script", script, "print all steps of this script")->check(CLI::PositiveNumber);
  CLI11_PARSE(app, argc, argv);
  if (script == 0) return compare(from, count);
  const auto simulation = simulated(script);
  const auto kernel = real(script);
  print(script, simulation, kernel);
  return simulation == kernel ? 0 : 1;
}

}  // namespace
}  // namespace weir::test::simulation

int main(int argc, char** argv) { return weir::test::simulation::run(argc, argv); }
