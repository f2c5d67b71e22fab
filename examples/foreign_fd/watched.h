// Descriptors that weir has no class for, each on a weir::Channel: a timer, a pipe to read from, a
// pidfd, and our standard output. Three rules hold for all: the descriptor outlives its Channel,
// the Channel leaves epoll when its events cannot be handled any more, and each event causes a
// limited amount of work. [loop]
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <string>
#include <string_view>

#include "weir/base/clock.h"
#include "weir/base/fd.h"
#include "weir/base/result.h"
#include "weir/net/reactor/channel.h"
#include "weir/net/reactor/event_loop.h"

// Calls `callback` once when the descriptor becomes readable. Does not read from it.
class Readable final : private weir::IoHandler {
 public:
  Readable(weir::EventLoop& loop, int fd, std::move_only_function<void()> callback);

 private:
  void on_ready(std::uint32_t events) override;
  void on_interest_refused(weir::Errno error) override;

  std::move_only_function<void()> callback_;
  weir::Channel channel_;
};

// timerfd_create(2), as an example. EventLoop::run_every needs no descriptor.
class Ticker final : private weir::IoHandler {
 public:
  // `times`: expirations since the previous call.
  Ticker(weir::EventLoop& loop, weir::Duration period,
         std::move_only_function<void(std::uint64_t times)> callback);

 private:
  void on_ready(std::uint32_t events) override;
  void on_interest_refused(weir::Errno error) override;

  std::move_only_function<void(std::uint64_t)> callback_;
  weir::Fd fd_;
  weir::Channel channel_;
};

// Reads lines from a pipe. The last one may lack its newline. A line over kMaxLine is reported in
// pieces.
class LineReader final : private weir::IoHandler {
 public:
  static constexpr std::size_t kMaxLine = 4096;

  LineReader(weir::EventLoop& loop, weir::Fd pipe,
             std::move_only_function<void(std::string_view line)> on_line,
             std::move_only_function<void()> on_end);

  void set_reading(bool on);
  // Ends the reading and calls on_end, unless the pipe has data.
  void end_if_quiet();
  bool ended() const { return !fd_.valid(); }

 private:
  void on_ready(std::uint32_t events) override;
  void on_interest_refused(weir::Errno error) override;
  bool read_once();
  void end();
  void take(std::string_view bytes);

  std::move_only_function<void(std::string_view)> on_line_;
  std::move_only_function<void()> on_end_;
  std::string line_;  // received so far of the current line
  bool cut_ = false;  // a piece of the current line was reported already
  weir::Fd fd_;
  weir::Channel channel_;
};

// Our standard output; never waits for its reader. O_NONBLOCK must not be set, because other
// processes share the terminal. But a pipe that epoll reports as writable takes PIPE_BUF bytes
// without blocking.
class Output final : private weir::IoHandler {
 public:
  // Buffered bytes from which full() is true; then the producer should pause.
  static constexpr std::size_t kHighMark = 64 * 1024;

  // `on_written` is called after a write of buffered bytes, and after a failure.
  Output(weir::EventLoop& loop, std::move_only_function<void()> on_written);

  void print(std::string_view line);
  bool full() const { return waiting_.size() >= kHighMark; }
  bool empty() const { return waiting_.empty(); }
  weir::Errno failure() const { return failure_; }  // after a failure nothing more is written

 private:
  void on_ready(std::uint32_t events) override;
  void on_interest_refused(weir::Errno error) override;
  void write_later();
  void write_once();

  std::move_only_function<void()> on_written_;
  std::string waiting_;
  weir::Errno failure_;
  bool never_waits_ = false;  // a regular file, or /dev/null
  bool posted_ = false;       // a task that writes is queued; for never_waits_ only
  weir::Channel channel_;
};
