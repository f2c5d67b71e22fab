// Descriptors that weir knows nothing of, each on a weir::Channel: a timer, a pipe to read from,
// the end of a process, and our own standard output. What they have in common: the descriptor
// outlives its Channel, an event that can't be used takes the Channel out of epoll, and one event
// is one bounded piece of work. [loop]
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

// Calls back once when a descriptor becomes readable; does not read from it.
class Readable final : private weir::IoHandler {
 public:
  Readable(weir::EventLoop& loop, int fd, std::move_only_function<void()> callback);

 private:
  void on_ready(std::uint32_t events) override;
  void on_interest_refused(weir::Errno error) override;

  std::move_only_function<void()> callback_;
  weir::Channel channel_;
};

// timerfd_create(2). For a timer of your own take EventLoop::run_every, which costs no descriptor.
class Ticker final : private weir::IoHandler {
 public:
  // `callback` is told how often the time has come since it was called last.
  Ticker(weir::EventLoop& loop, weir::Duration period,
         std::move_only_function<void(std::uint64_t times)> callback);

 private:
  void on_ready(std::uint32_t events) override;
  void on_interest_refused(weir::Errno error) override;

  std::move_only_function<void(std::uint64_t)> callback_;
  weir::Fd fd_;
  weir::Channel channel_;
};

// The lines that come through a pipe; the last one may lack its end. A longer one comes in pieces.
class LineReader final : private weir::IoHandler {
 public:
  static constexpr std::size_t kMaxLine = 4096;

  LineReader(weir::EventLoop& loop, weir::Fd pipe,
             std::move_only_function<void(std::string_view line)> on_line,
             std::move_only_function<void()> on_end);

  void set_reading(bool on);
  // Looks at the pipe no more, unless something is in it. Then on_end is called.
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
  std::string line_;  // what has come of the current one
  bool cut_ = false;  // a piece of it was told already
  weir::Fd fd_;
  weir::Channel channel_;
};

// Our standard output, without ever waiting for who reads it. It can't be made non-blocking, for
// the terminal is others' too; but a pipe that epoll calls writable takes PIPE_BUF bytes at once.
class Output final : private weir::IoHandler {
 public:
  // From here on it is full, and whoever produces should rest.
  static constexpr std::size_t kHighMark = 64 * 1024;

  // `on_written`: some of what waited has gone, or has failed.
  Output(weir::EventLoop& loop, std::move_only_function<void()> on_written);

  void print(std::string_view line);
  bool full() const { return waiting_.size() >= kHighMark; }
  bool empty() const { return waiting_.empty(); }
  weir::Errno failure() const { return failure_; }  // nothing more is written after it

 private:
  void on_ready(std::uint32_t events) override;
  void on_interest_refused(weir::Errno error) override;
  void write_later();
  void write_once();

  std::move_only_function<void()> on_written_;
  std::string waiting_;
  weir::Errno failure_;
  bool never_waits_ = false;  // a regular file
  bool posted_ = false;       // and a task to write to it is
  weir::Channel channel_;
};
