#include "foreign_fd/child_process.h"

#include <fcntl.h>
#include <spawn.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <csignal>

namespace {

using weir::Errno;
using weir::Error;
using weir::Fd;
using weir::Result;

struct Pipe {
  Fd reading;
  Fd writing;
};

// Non-blocking on our side only: the child expects blocking writes.
Result<Pipe> make_pipe() {
  std::array<int, 2> ends{};
  if (::pipe2(ends.data(), O_CLOEXEC) != 0) return std::unexpected(Error("pipe2", Errno::last()));
  Pipe pipe{.reading = Fd(ends[0]), .writing = Fd(ends[1])};
  if (::fcntl(pipe.reading.get(), F_SETFL, O_NONBLOCK) != 0) {
    return std::unexpected(Error("fcntl", Errno::last()));
  }
  return pipe;
}

// posix_spawnp(3) with its attributes. Returns its error number.
int spawn(const std::vector<std::string>& words, const Pipe& output, const Pipe& errors, int& pid) {
  posix_spawn_file_actions_t files;
  posix_spawnattr_t attributes;
  posix_spawn_file_actions_init(&files);
  posix_spawnattr_init(&attributes);
  posix_spawn_file_actions_addopen(&files, STDIN_FILENO, "/dev/null", O_RDONLY, 0);
  posix_spawn_file_actions_adddup2(&files, output.writing.get(), STDOUT_FILENO);
  posix_spawn_file_actions_adddup2(&files, errors.writing.get(), STDERR_FILENO);

  // A child inherits the blocked signals (of our SignalSet) and the ignored ones. Reset both.
  sigset_t none;
  sigset_t ignored;
  sigemptyset(&none);
  sigemptyset(&ignored);
  sigaddset(&ignored, SIGPIPE);
  posix_spawnattr_setsigmask(&attributes, &none);
  posix_spawnattr_setsigdefault(&attributes, &ignored);
  posix_spawnattr_setpgroup(&attributes, 0);
  posix_spawnattr_setflags(&attributes,
                           POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETSIGDEF | POSIX_SPAWN_SETPGROUP);

  std::vector<char*> arguments;
  arguments.reserve(words.size() + 1);
  for (const std::string& word : words) arguments.push_back(const_cast<char*>(word.c_str()));
  arguments.push_back(nullptr);
  const int error =
      posix_spawnp(&pid, arguments[0], &files, &attributes, arguments.data(), environ);
  posix_spawnattr_destroy(&attributes);
  posix_spawn_file_actions_destroy(&files);
  return error;
}

}  // namespace

Result<ChildProcess> ChildProcess::start(const std::vector<std::string>& words) {
  auto output = make_pipe();
  auto errors = make_pipe();
  if (!output) return std::unexpected(output.error());
  if (!errors) return std::unexpected(errors.error());
  ChildProcess child;
  if (const int error = spawn(words, *output, *errors, child.pid_); error != 0) {
    return std::unexpected(Error("start " + words.front(), Errno(error)));
  }
  // By syscall(2): not every C library declares pidfd_open for C++.
  child.pidfd_ = Fd(static_cast<int>(::syscall(SYS_pidfd_open, child.pid_, 0)));
  if (!child.pidfd_) {
    const Error refused("pidfd_open", Errno::last());
    ::kill(-child.pid_, SIGKILL);
    ::waitpid(child.pid_, nullptr, 0);
    return std::unexpected(refused);
  }
  child.output_ = std::move(output->reading);
  child.errors_ = std::move(errors->reading);
  return child;
}

ChildProcess::~ChildProcess() {
  if (!pidfd_) return;  // moved from
  signal(SIGKILL);
  ::waitpid(pid_, nullptr, 0);
}

void ChildProcess::signal(int number) const { ::kill(-pid_, number); }

std::optional<ChildProcess::Ended> ChildProcess::ended() const {
  siginfo_t info{};
  const auto id = static_cast<id_t>(pidfd_.get());
  if (::waitid(P_PIDFD, id, &info, WEXITED | WNOHANG | WNOWAIT) != 0 || info.si_pid != pid_) {
    return std::nullopt;
  }
  return Ended{.by_signal = info.si_code != CLD_EXITED, .number = info.si_status};
}
