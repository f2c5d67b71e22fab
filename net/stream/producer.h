// Producer: sends to one connection from another thread, no faster than its peer accepts the bytes.
//
//   std::thread feeder([feed = weir::Producer(conn.ref())]() mutable {
//     while (auto line = next_line()) {
//       if (!feed.send(weir::SharedBytes::copy(*line))) return;  // waits while the peer is slow
//     }
//   });
//
// ConnectionRef::send() never waits and cannot report to another thread that the peer is slow: its
// messages accumulate in the loop's mailbox, without a bound, and in the connection, up to
// max_output. A Producer bounds both: it is full while the connection is above its high_water, and
// while a message would bring the bytes that are on their way to the loop above `bound`. So at most
// high_water + bound + one message wait.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>

#include "weir/base/clock.h"
#include "weir/base/export.h"
#include "weir/net/buffer/shared_bytes.h"
#include "weir/net/stream/connection_ref.h"

namespace weir::internal {
class ProducerSide;
}

namespace WEIR_EXPORT weir {

// Any thread may call it, one at a time. It may outlive the connection.
class Producer {
 public:
  static constexpr std::uint64_t kDefaultBound = 256 * 1024;

  enum class Result : std::uint8_t {
    queued,  // posted to the loop; lost if the connection ends before the message arrives
    full,    // not accepted: try again after on_room
    ended,   // not accepted: the connection has ended, is closing, or shutdown() was called
  };

  // `bound` in bytes. A larger message is accepted when no other is on its way.
  explicit Producer(ConnectionRef connection, std::uint64_t bound = kDefaultBound);
  // Messages that were queued are still sent. on_room is not called any more, but a call that is
  // running on another thread continues.
  ~Producer();
  Producer(Producer&& other) noexcept = default;
  Producer& operator=(Producer&&) = delete;

  // Never waits.
  Result try_send(SharedBytes message);
  // Waits while it is full, at most for `at_most`. False: not queued, because the connection has
  // ended or the time has passed. CHECK: not on the thread of the connection's loop, which would
  // wait for itself.
  [[nodiscard]] bool send(const SharedBytes& message, Duration at_most = (Duration::max)());

  // For a producer that must not wait, such as one on another loop: `fn` is called in a task of the
  // connection's loop when there is room after a try_send() that returned `full`, and when the
  // connection has ended. Set it before the first try_send().
  void on_room(std::move_only_function<void()> fn);

  // Bytes that are on their way to the loop.
  std::uint64_t pending() const;
  bool ended() const;
  // Messages for which send() returned SendResult::dropped when they arrived: see Overflow.
  std::uint64_t dropped() const;

 private:
  ConnectionRef connection_;
  std::shared_ptr<internal::ProducerSide> side_;
};

}  // namespace weir
