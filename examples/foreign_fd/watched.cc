#include "foreign_fd/watched.h"

#include <sys/epoll.h>
#include <sys/ioctl.h>
#include <sys/timerfd.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <chrono>
#include <climits>
#include <ctime>
#include <utility>

namespace {

using weir::Errno;
using weir::Error;

constexpr std::size_t kAtOnce = PIPE_BUF;

// Without a place in the epoll set the program cannot continue.
[[noreturn]] void refuse(const char* what, Errno error) {
  throw weir::SystemError(Error(what, error));
}

timespec to_timespec(weir::Duration duration) {
  const auto seconds = std::chrono::floor<std::chrono::seconds>(duration);
  return {.tv_sec = seconds.count(), .tv_nsec = (duration - seconds).count()};
}

}  // namespace

// --- Readable ------------------------------------------------------------------------------------

Readable::Readable(weir::EventLoop& loop, int fd, std::move_only_function<void()> callback)
    : callback_(std::move(callback)), channel_(loop, fd, *this) {
  channel_.set_reading(true);
}

void Readable::on_ready(std::uint32_t) {
  channel_.remove();
  callback_();
}

void Readable::on_interest_refused(Errno error) { refuse("watch the child", error); }

// --- Ticker --------------------------------------------------------------------------------------

Ticker::Ticker(weir::EventLoop& loop, weir::Duration period,
               std::move_only_function<void(std::uint64_t)> callback)
    : callback_(std::move(callback)),
      fd_(::timerfd_create(CLOCK_MONOTONIC, TFD_NONBLOCK | TFD_CLOEXEC)),
      channel_(loop, fd_.get(), *this) {
  if (!fd_) refuse("timerfd_create", Errno::last());
  const itimerspec every{.it_interval = to_timespec(period), .it_value = to_timespec(period)};
  if (::timerfd_settime(fd_.get(), 0, &every, nullptr) != 0) {
    refuse("timerfd_settime", Errno::last());
  }
  channel_.set_reading(true);
}

void Ticker::on_ready(std::uint32_t) {
  std::uint64_t times = 0;
  if (::read(fd_.get(), &times, sizeof(times)) == sizeof(times)) callback_(times);
}

void Ticker::on_interest_refused(Errno error) { refuse("watch a timer", error); }

// --- LineReader ----------------------------------------------------------------------------------

LineReader::LineReader(weir::EventLoop& loop, weir::Fd pipe,
                       std::move_only_function<void(std::string_view)> on_line,
                       std::move_only_function<void()> on_end)
    : on_line_(std::move(on_line)),
      on_end_(std::move(on_end)),
      fd_(std::move(pipe)),
      channel_(loop, fd_.get(), *this) {
  channel_.set_reading(true);
}

void LineReader::set_reading(bool on) {
  if (!ended()) channel_.set_reading(on);
}

// EPOLLHUP is reported with the last bytes and remains; so read on until the end of the file.
void LineReader::on_ready(std::uint32_t) {
  if (!read_once()) end();
}

// False at the end.
bool LineReader::read_once() {
  std::array<char, 16 * 1024> block;
  const ssize_t size = ::read(fd_.get(), block.data(), block.size());
  if (size > 0) take({block.data(), static_cast<std::size_t>(size)});
  return size > 0 || (size < 0 && (errno == EAGAIN || errno == EINTR));
}

void LineReader::take(std::string_view bytes) {
  while (!bytes.empty()) {
    const std::size_t length = std::min(bytes.find('\n'), bytes.size());
    const std::size_t taken = std::min(length, kMaxLine - line_.size());
    line_ += bytes.substr(0, taken);
    bytes.remove_prefix(taken);
    const bool whole = bytes.starts_with('\n');
    if (whole) bytes.remove_prefix(1);
    if (!whole && line_.size() < kMaxLine) return;
    if (!line_.empty() || !cut_) on_line_(line_);
    line_.clear();
    cut_ = !whole;
  }
}

void LineReader::end_if_quiet() {
  int waiting = 0;
  if (!ended() && (::ioctl(fd_.get(), FIONREAD, &waiting) != 0 || waiting == 0)) end();
}

void LineReader::end() {
  channel_.remove();  // before its descriptor is closed
  fd_.reset();
  if (!line_.empty()) on_line_(std::exchange(line_, {}));
  on_end_();
}

void LineReader::on_interest_refused(Errno error) { refuse("watch a pipe", error); }

// --- Output --------------------------------------------------------------------------------------

Output::Output(weir::EventLoop& loop, std::move_only_function<void()> on_written)
    : on_written_(std::move(on_written)), channel_(loop, STDOUT_FILENO, *this) {}

void Output::print(std::string_view line) {
  if (failure_) return;
  waiting_ += line;
  waiting_ += '\n';
  write_later();
}

// Lines of one turn of the loop are written together.
void Output::write_later() {
  if (!never_waits_) {
    channel_.set_writing(true);
  } else if (!std::exchange(posted_, true)) {
    channel_.loop().post([this] {
      posted_ = false;
      on_ready(EPOLLOUT);
      if (!waiting_.empty()) write_later();
    });
  }
}

void Output::on_ready(std::uint32_t) {
  write_once();
  if (waiting_.empty()) channel_.set_writing(false);
  on_written_();
}

void Output::write_once() {
  const std::size_t size = never_waits_ ? waiting_.size() : std::min(waiting_.size(), kAtOnce);
  const ssize_t written = ::write(STDOUT_FILENO, waiting_.data(), size);
  if (written >= 0) {
    waiting_.erase(0, static_cast<std::size_t>(written));
  } else if (errno != EAGAIN && errno != EINTR) {
    failure_ = Errno::last();
    waiting_.clear();
  }
}

// EPERM: a regular file or /dev/null. epoll does not watch them, because writes never wait.
void Output::on_interest_refused(Errno error) {
  if (error == EPERM) {
    never_waits_ = true;
    write_later();
    return;
  }
  failure_ = error;
  waiting_.clear();
  on_written_();
}
