// Standard input and output on a loop: descriptors that weir did not open and does not own.
//
// They are left as they are, without O_NONBLOCK, which would be set for every process that shares
// them. So each readiness is worth one read(2), or one write(2) of no more than a ready pipe takes.
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
  // `told` gets every block that is read, and an empty one at the end. It must not destroy this.
  using Told = std::move_only_function<void(std::string_view block)>;

  // Reads nothing before resume().
  Input(weir::EventLoop& loop, int fd, Told told);
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
  Told told_;
  weir::Channel channel_;
  weir::TimerId next_;  // of a file
  bool wanted_ = false;
  bool is_file_ = false;
};

class Output final : private weir::IoHandler {
 public:
  // Bytes waiting from which on full() asks to stop. What comes after that is kept nevertheless.
  static constexpr std::size_t kHighMark = 256 * 1024;

  struct Events {
    std::move_only_function<void()> room;    // full() was true, and nothing waits any more
    std::move_only_function<void()> broken;  // nobody takes it any more; once
  };

  Output(weir::EventLoop& loop, int fd, Events events);

  void write(std::string_view bytes);
  bool full() const { return waiting_.size() >= kHighMark; }
  // Writes what waits now, for at most so long. For the last words.
  void finish(weir::Duration timeout);

 private:
  // A pipe that is ready takes so much without waiting (PIPE_BUF, pipe(7)).
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
  bool broken_ = false;
};

}  // namespace chat
