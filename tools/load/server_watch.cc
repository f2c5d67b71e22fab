#include "load/server_watch.h"

#include <fmt/format.h>
#include <signal.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <fstream>
#include <sstream>
#include <string>
#include <utility>

namespace weir::load {

namespace {

Duration ticks(unsigned long long count) {
  static const long per_second = sysconf(_SC_CLK_TCK);
  return std::chrono::duration_cast<Duration>(
      std::chrono::duration<double>(static_cast<double>(count) / static_cast<double>(per_second)));
}

}  // namespace

ServerWatch::ServerWatch(pid_t pid, clockid_t clock) : clock_(clock) {
  usage_.pid = pid;
  usage_.rss_before = usage_.rss_begin = usage_.rss_end = resident();
}

Result<ServerWatch> ServerWatch::open(pid_t pid) {
  clockid_t clock{};
  if (const int error = clock_getcpuclockid(pid, &clock); error != 0) {
    return std::unexpected(Error(fmt::format("--pid {}", pid), Errno(error)));
  }
  return ServerWatch(pid, clock);
}

bool ServerWatch::runs() const {
  return ::kill(usage_.pid, 0) == 0 || errno != ESRCH;  // EPERM: another user's process
}

// /proc/PID/statm: size and resident, in pages.
std::size_t ServerWatch::resident() {
  std::ifstream file(fmt::format("/proc/{}/statm", usage_.pid));
  std::size_t size = 0;
  std::size_t pages = 0;
  file >> size >> pages;
  if (!file) {
    if (runs()) {
      usage_.shown = false;
    } else {
      usage_.gone = true;
    }
    return usage_.rss_end;
  }
  if (size == 0) {  // a zombie has no memory
    usage_.gone = true;
    return usage_.rss_end;
  }
  const std::size_t bytes = pages * static_cast<std::size_t>(sysconf(_SC_PAGESIZE));
  usage_.rss_peak = std::max(usage_.rss_peak, bytes);
  return bytes;
}

ServerWatch::Times ServerWatch::times() {
  Times now{.when = Clock::now()};
  timespec used{};
  if (clock_gettime(clock_, &used) != 0) {
    usage_.gone = true;
    return begin_;
  }
  now.cpu = std::chrono::seconds(used.tv_sec) + Duration(used.tv_nsec);
  std::ifstream file(fmt::format("/proc/{}/stat", usage_.pid));
  std::string text;
  std::getline(file, text);
  const std::size_t name_end = text.rfind(')');
  if (name_end == std::string::npos) return now;
  std::istringstream fields(text.substr(name_end + 1));
  std::string skipped;
  for (int i = 0; i < 11; ++i) fields >> skipped;  // state to cmajflt: proc(5)
  unsigned long long user = 0;
  unsigned long long system = 0;
  fields >> user >> system;
  now.user = ticks(user);
  now.system = ticks(system);
  return now;
}

void ServerWatch::begin() {
  begun_ = true;
  begin_ = times();
  usage_.rss_begin = resident();
}

void ServerWatch::sample() {
  if (!ended_) resident();
}

void ServerWatch::end() {
  if (!begun_ || std::exchange(ended_, true)) return;
  const Times now = times();
  usage_.elapsed = now.when - begin_.when;
  usage_.cpu = now.cpu - begin_.cpu;
  usage_.user = now.user - begin_.user;
  usage_.system = now.system - begin_.system;
  usage_.rss_end = resident();
}

}  // namespace weir::load
