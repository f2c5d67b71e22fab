#include "support/subprocess.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <poll.h>
#include <spawn.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <csignal>
#include <cstring>
#include <utility>

namespace weir::test {
namespace {

struct Pipe {
  std::array<int, 2> ends{-1, -1};
  Pipe() {
    if (::pipe2(ends.data(), O_CLOEXEC) != 0) ADD_FAILURE() << "pipe2: " << std::strerror(errno);
  }
  int take(std::size_t which) { return std::exchange(ends.at(which), -1); }
  ~Pipe() {
    for (const int end : ends) {
      if (end >= 0) ::close(end);
    }
  }
  Pipe(const Pipe&) = delete;
  Pipe& operator=(const Pipe&) = delete;
};

std::vector<char*> pointers(std::vector<std::string>& texts) {
  std::vector<char*> result;
  for (std::string& text : texts) result.push_back(text.data());
  result.push_back(nullptr);
  return result;
}

}  // namespace

Subprocess::Subprocess(std::vector<std::string> arguments, std::vector<std::string> environment) {
  Pipe input;
  Pipe output;
  Pipe errors;
  posix_spawn_file_actions_t actions;
  ::posix_spawn_file_actions_init(&actions);
  ::posix_spawn_file_actions_adddup2(&actions, input.ends[0], STDIN_FILENO);
  ::posix_spawn_file_actions_adddup2(&actions, output.ends[1], STDOUT_FILENO);
  ::posix_spawn_file_actions_adddup2(&actions, errors.ends[1], STDERR_FILENO);
  posix_spawnattr_t attributes;
  ::posix_spawnattr_init(&attributes);
  sigset_t set;
  sigemptyset(&set);
  ::posix_spawnattr_setsigmask(&attributes, &set);
  sigfillset(&set);
  ::posix_spawnattr_setsigdefault(&attributes, &set);
  ::posix_spawnattr_setflags(&attributes, POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETSIGDEF);

  for (char** variable = environ; *variable != nullptr; ++variable) {
    environment.emplace_back(*variable);  // behind the additions: the first of a name counts
  }
  std::vector<char*> argv = pointers(arguments);
  std::vector<char*> env = pointers(environment);
  const int error = ::posix_spawnp(&pid_, argv[0], &actions, &attributes, argv.data(), env.data());
  ::posix_spawnattr_destroy(&attributes);
  ::posix_spawn_file_actions_destroy(&actions);
  if (error != 0) {
    pid_ = -1;
    ADD_FAILURE() << "start " << arguments[0] << ": " << std::strerror(error);
  }
  input_ = input.take(1);
  collector_ =
      std::thread([this, out = output.take(0), err = errors.take(0)] { collect(out, err); });
}

Subprocess::~Subprocess() {
  close_input();
  if (pid_ > 0 && !status_) {
    ::kill(pid_, SIGKILL);
    ::waitpid(pid_, nullptr, 0);
  }
  // A grandchild that holds a pipe would keep the collector; it is the test's to end.
  collector_.join();
}

void Subprocess::collect(int output, int errors) {
  std::array<pollfd, 2> items{{{output, POLLIN, 0}, {errors, POLLIN, 0}}};
  std::array<std::string*, 2> texts{&output_, &errors_};
  while (items[0].fd >= 0 || items[1].fd >= 0) {
    if (::poll(items.data(), items.size(), -1) < 0) continue;
    for (std::size_t i = 0; i < items.size(); ++i) {
      if (items[i].fd < 0 || items[i].revents == 0) continue;
      std::array<char, 4096> block;
      const ssize_t n = ::read(items[i].fd, block.data(), block.size());
      if (n > 0) {
        const std::lock_guard lock(mutex_);
        texts[i]->append(block.data(), static_cast<std::size_t>(n));
      } else if (n == 0 || errno != EINTR) {
        ::close(std::exchange(items[i].fd, -1));
      }
      more_.notify_all();
    }
  }
  const std::lock_guard lock(mutex_);
  ended_ = true;
  more_.notify_all();
}

void Subprocess::signal(int number) const {
  if (pid_ > 0 && !status_) ::kill(pid_, number);
}

void Subprocess::write_input(std::string_view bytes) {
  while (!bytes.empty() && input_ >= 0) {
    const ssize_t n = ::write(input_, bytes.data(), bytes.size());
    if (n > 0) bytes.remove_prefix(static_cast<std::size_t>(n));
    if (n < 0 && errno != EINTR) return;
  }
}

void Subprocess::close_input() {
  if (input_ >= 0) ::close(std::exchange(input_, -1));
}

std::optional<std::string> Subprocess::read_line(Duration deadline) {
  std::unique_lock lock(mutex_);
  std::size_t end = std::string::npos;
  more_.wait_for(lock, deadline, [&] {
    end = output_.find('\n', line_at_);
    return end != std::string::npos || ended_;
  });
  if (end == std::string::npos) return std::nullopt;
  std::string line = output_.substr(line_at_, end - line_at_);
  line_at_ = end + 1;
  return line;
}

std::optional<int> Subprocess::wait(Duration deadline) {
  if (status_ || pid_ <= 0) return status_;
  const TimePoint end = saturating_add(Clock::now(), deadline);
  for (;;) {
    int status = 0;
    const pid_t answer = ::waitpid(pid_, &status, WNOHANG);
    if (answer == pid_) {
      status_ = WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
      std::unique_lock lock(mutex_);
      more_.wait_until(lock, std::chrono::steady_clock::now() + std::chrono::seconds(1),
                       [this] { return ended_; });
      return status_;
    }
    if (Clock::now() >= end) return std::nullopt;
    std::this_thread::sleep_for(std::chrono::milliseconds(2));
  }
}

std::string Subprocess::output() const {
  const std::lock_guard lock(mutex_);
  return output_;
}

std::string Subprocess::errors() const {
  const std::lock_guard lock(mutex_);
  return errors_;
}

}  // namespace weir::test
