// RelayPair: the two connections of a relay(), and the handler of both. It owns itself until both
// have ended. Internal to the tcp floor. [loop]
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <memory>

#include "weir/base/clock.h"
#include "weir/base/result.h"
#include "weir/net/stream/connection_handler.h"
#include "weir/net/stream/internal/connection.h"
#include "weir/net/stream/internal/splice_pipe.h"
#include "weir/net/stream/relay.h"

namespace weir {
class EventLoop;
}

namespace weir::internal {

class Connection;
class ConnectionGroup;

class RelayPair final : public ConnectionHandler {
  struct Key {};

 public:
  // Of join().
  RelayPair(Key, Connection& a, Connection& b, RelayOptions options, RelayDone on_done);
  static RelayHandle join(Connection& a, Connection& b, RelayOptions options, RelayDone on_done);
  ~RelayPair() override;
  void cancel();
  bool active() const { return ends_[0] != nullptr || ends_[1] != nullptr; }
  // The server of one side is going: its handlers are not called any more.
  void forget_done() { on_done_ = nullptr; }
  // And so is its group.
  void forget_group(const ConnectionGroup& group);
  // This side begins to end.
  void closing(const Connection& connection, CloseReason reason);

  // -- what a connection asks in place of reading into memory and writing from it -----------------

  // Whether what comes next from `source` goes through a pipe; one is there then.
  bool splices(const Connection& source);
  // Socket to pipe. EAGAIN: nothing for now (`source` may have been paused for it). ENOTSUP: copy.
  SysResult<std::size_t> fill(Connection& source);
  // Passes on what fill() has just brought.
  void pass_on(Connection& source);
  // Bytes in the pipe that leads to `sink`.
  std::size_t held_for(const TcpConnection& sink) const;
  SysResult<std::size_t> drain(Connection& sink);
  void discard_for(const TcpConnection& sink);
  // The pipe's part in the marks of `sink`.
  bool full_for(const TcpConnection& sink) const;
  bool low_for(const TcpConnection& sink) const;
  // `aborted` and nothing left to send: resets when the peer has it all.
  void reset_when_delivered(Connection& connection);

  void on_data(TcpConnection& source, Buffer& in) override;
  void on_half_close(TcpConnection& source) override;
  void on_drained(TcpConnection& sink) override;
  void on_close(TcpConnection& connection, CloseReason reason) override;

 private:
  // One direction: from the end of its number to the other.
  struct Way {
    std::unique_ptr<SplicePipe> pipe;  // while it holds bytes
    bool bulk = false;                 // has come in large pieces of late
    bool refused = false;              // splice(2) does not do it
    bool clogged = false;              // the pipe said that it is full, before its capacity
    bool holding = false;              // the source is paused until the sink has drained
  };

  void take_over(std::size_t end);
  void catch_up(std::size_t end);
  void left_is_forwarded(Connection& source);
  void ended(std::size_t end, CloseReason reason);
  void end_other(Connection& other, CloseReason reason);
  void finish();
  void leave_groups();
  void hold(std::size_t way);
  void give_back_if_empty(std::size_t way);

  std::size_t index_of(const TcpConnection& connection) const {
    return &machine_of(connection) == ends_[0] ? 0 : 1;
  }
  std::size_t bound_of(std::size_t way) const;

  EventLoop& loop_;
  const RelayOptions options_;
  RelayDone on_done_;
  std::shared_ptr<RelayPair> self_;
  std::array<Connection*, 2> ends_;           // nullptr: ended
  std::array<ConnectionGroup*, 2> groups_{};  // of both until finish(); nullptr: gone
  std::array<std::uint64_t, 2> sent_before_{};
  std::array<std::uint64_t, 2> sent_{};
  std::array<CloseReason, 2> reasons_;
  std::array<bool, 2> looking_{};  // a timer of reset_when_delivered() runs
  std::array<Duration, 2> next_look_{};
  std::array<Way, 2> ways_;
};

}  // namespace weir::internal
