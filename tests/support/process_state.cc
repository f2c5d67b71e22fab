#include "support/process_state.h"

#include <dirent.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstdlib>
#include <ctime>
#include <fstream>
#include <memory>

namespace weir::test {
namespace {

template <typename Fn>
void for_each_number(const char* folder, Fn fn) {
  const auto close = [](DIR* dir) { ::closedir(dir); };
  const std::unique_ptr<DIR, decltype(close)> dir(::opendir(folder), close);
  if (!dir) return;
  while (const dirent* entry = ::readdir(dir.get())) {
    if (entry->d_name[0] == '.') continue;
    const int number = std::atoi(entry->d_name);
    if (number != ::dirfd(dir.get())) fn(number, std::string(folder) + "/" + entry->d_name);
  }
}

Duration cpu_time(clockid_t clock) {
  timespec time{};
  ::clock_gettime(clock, &time);
  return std::chrono::seconds(time.tv_sec) + Duration(time.tv_nsec);
}

}  // namespace

std::map<int, std::string> open_descriptors() {
  std::map<int, std::string> result;
  for_each_number("/proc/self/fd", [&](int fd, const std::string& path) {
    std::array<char, 256> target{};
    const ssize_t size = ::readlink(path.c_str(), target.data(), target.size());
    if (size > 0) result[fd] = std::string(target.data(), static_cast<std::size_t>(size));
  });
  return result;
}

std::map<pid_t, std::string> threads() {
  std::map<pid_t, std::string> result;
  for_each_number("/proc/self/task", [&](int id, const std::string& path) {
    std::string name;
    std::getline(std::ifstream(path + "/comm"), name);
    result[id] = name;
  });
  return result;
}

std::ptrdiff_t threads_of_weir() {
  return std::ranges::count_if(
      threads(), [](const auto& thread) { return thread.second.starts_with("weir-"); });
}

bool has_children() {
  siginfo_t info{};
  int answer = 0;
  do {
    answer = ::waitid(P_ALL, 0, &info, WEXITED | WNOHANG | WNOWAIT);
  } while (answer < 0 && errno == EINTR);
  return answer == 0;
}

Duration thread_cpu_time() { return cpu_time(CLOCK_THREAD_CPUTIME_ID); }
Duration process_cpu_time() { return cpu_time(CLOCK_PROCESS_CPUTIME_ID); }

}  // namespace weir::test
