// Standard input and output on a loop: descriptors that weir did not open and does not own.
//
// O_NONBLOCK is not set, because it would apply to every process that shares them. So each event
// allows one read(2), or one write(2) of the size that a writable pipe takes without blocking.
// Regular files are always ready, and epoll refuses them (EPERM).
#pragma once

#include <functional>
#include <string_view>

#include "weir/base/clock.h"
#include "weir/net/buffer/buffer.h"
#include "weir/net/reactor/channel.h"
#include "weir/net/reactor/event_loop.h"

namespace chat {

class Input final : private weir::IoHandler {
 public:
  // Gets every block that is read, and an empty block at the end. Must not destroy the Input.
  using OnBlock = std::move_only_function<void(std::string_view block)>;

  // Reads nothing before resume().
  Input(weir::EventLoop& loop, int fd, OnBlock on_block);
  ~Input() { loop_.cancel(next_); }

  void resume();
  void pause();

 private:
  void on_ready(std::uint32_t events) override;
  void on_interest_refused(weir::Errno error) override;
  void read_one_block();
  void end();
  void read_later();

  weir::EventLoop& loop_;
  OnBlock on_block_;
  weir::Channel channel_;
  weir::TimerId next_;  // the next read of a file
  bool wanted_ = false;
  bool is_file_ = false;
};

class Output final : private weir::IoHandler {
 public:
  // Queued bytes from which full() is true. Further output is queued nevertheless.
  static constexpr std::size_t kHighMark = 256 * 1024;

  struct Events {
    std::move_only_function<void()> drained;  // full() was true, and the queue is empty now
    std::move_only_function<void()> failed;   // a write failed; called once
  };

  Output(weir::EventLoop& loop, int fd, Events events);

  void write(std::string_view bytes);
  bool full() const { return waiting_.size() >= kHighMark; }
  // Writes the queue now, waiting at most `timeout`. For the end of the program.
  void finish(weir::Duration timeout);

 private:
  // PIPE_BUF: a writable pipe takes this many bytes without blocking (pipe(7)).
  static constexpr std::size_t kPiece = 4096;

  void on_ready(std::uint32_t events) override;
  void on_interest_refused(weir::Errno error) override;
  bool write_piece();
  void fail();

  weir::Buffer waiting_;
  Events events_;
  weir::Channel channel_;
  bool was_full_ = false;
  bool is_file_ = false;
  bool failed_ = false;
};

}  // namespace chat
