// RelayPair: the two connections of a relay(), the handler of both, and the pump between them.
// Keeps itself alive until both have ended. Internal. [loop]
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <memory>

#include "weir/base/back_off.h"
#include "weir/base/result.h"
#include "weir/net/route/internal/splice_pipe.h"
#include "weir/net/route/relay.h"
#include "weir/net/stream/connection_handler.h"
#include "weir/net/stream/internal/connection.h"
#include "weir/net/stream/internal/pump.h"

namespace weir::internal {

class RelayPair final : public ConnectionHandler, public Kept, private Pump {
  struct Key {};

 public:
  // Only for join().
  RelayPair(Key, Connection& a, Connection& b, RelayOptions options, RelayDone on_done);
  static RelayHandle join(Connection& a, Connection& b, RelayOptions options, RelayDone on_done);
  ~RelayPair() override;
  void cancel() override;
  bool active() const { return ends_[0] != nullptr || ends_[1] != nullptr; }

 private:
  // Of Pump.
  std::size_t read(Connection& source) override;
  SysResult<std::size_t> write(Connection& sink) override;
  std::size_t held(const Connection& sink) const override;
  bool full(const Connection& sink) const override;
  bool drained(const Connection& sink) const override;
  void closing(Connection& connection, CloseReason reason) override;
  bool may_end(Connection& connection) override;
  void discard(const Connection& sink) override;
  void forget(const ConnectionGroup& group) override;

  // Of ConnectionHandler.
  void on_data(TcpConnection& from, Buffer& in) override;
  void on_half_close(TcpConnection& source) override;
  void on_drained(TcpConnection& sink) override;
  void on_close(TcpConnection& connection, CloseReason reason) override;

  // One direction: ways_[end] is from ends_[end] to the other end.
  struct Way {
    std::unique_ptr<SplicePipe> pipe;  // while it holds bytes
    bool bulk = false;                 // recent reads were large
    bool refused = false;              // splice(2) does not support these sockets
    bool clogged = false;              // the pipe may be full below its capacity
    bool holding = false;              // the source is paused until the sink has drained
  };

  void take_over(std::size_t end);
  void catch_up(std::size_t end);
  void leftover_forwarded(Connection& source);
  void ended(std::size_t end, CloseReason reason);
  void end_other(Connection& other, CloseReason reason);
  void finish();
  void leave_groups();
  bool splices(const Connection& source);
  SysResult<std::size_t> fill(Connection& source);
  void pass_on(Connection& source);
  void reset_when_delivered(Connection& connection);
  void hold(std::size_t way);
  void give_back_if_empty(std::size_t way);

  std::size_t index_of(const TcpConnection& connection) const {
    return &machine_of(connection) == ends_[0] ? 0 : 1;
  }
  std::size_t bound_of(std::size_t way) const;

  EventLoop& loop_;
  SplicePipes& pipes_;  // of the loop
  const RelayOptions options_;
  RelayDone on_done_;
  std::shared_ptr<RelayPair> self_;
  std::array<Connection*, 2> ends_;           // nullptr: ended
  std::array<ConnectionGroup*, 2> groups_{};  // until finish(); nullptr: destroyed
  std::array<std::uint64_t, 2> sent_before_{};
  std::array<std::uint64_t, 2> sent_{};
  std::array<CloseReason, 2> reasons_;
  std::array<bool, 2> ack_check_set_{};  // a timer of reset_when_delivered() runs
  std::array<BackOff, 2> ack_checks_;
  std::array<Way, 2> ways_;
};

}  // namespace weir::internal
