// Producer: sends to one connection from another thread, no faster than its peer takes it.
//
//   std::thread feeder([feed = weir::Producer(conn.ref())]() mutable {
//     while (auto line = next_line()) {
//       if (!feed.send(weir::SharedBytes::copy(*line))) return;  // waits while the peer is slow
//     }
//   });
//
// ConnectionRef::send() never waits and cannot tell a foreign thread that the peer is slow: what it
// hands over piles up in the loop's mailbox and in the connection, up to max_output. A Producer
// bounds both: it is full while the connection is above its high_water, and while more than `bound`
// bytes of its own are on their way to the loop. So at most high_water + bound + one message wait.
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

// One thread at a time may call it, any thread. May outlive the connection.
class Producer {
 public:
  static constexpr std::uint64_t kDefaultBound = 256 * 1024;

  enum class Result : std::uint8_t {
    queued,  // handed over; it may be lost if the connection ends before it arrives
    full,    // not taken: try again after on_room
    ended,   // the connection is gone, closing, or was shut down: it takes nothing any more
  };

  // `bound` in bytes. A message that is larger passes when none is on its way.
  explicit Producer(ConnectionRef connection, std::uint64_t bound = kDefaultBound);
  // Messages that were queued are still sent. on_room is not called any more; a call of it that is
  // under way on another thread goes on.
  ~Producer();
  Producer(Producer&& other) noexcept = default;
  Producer& operator=(Producer&&) = delete;

  // Never waits.
  Result try_send(SharedBytes message);
  // Waits while it is full, but no longer than `at_most`. False: not handed over, because the
  // connection has ended or the time is over. A CHECK on the thread of the connection's loop, which
  // would wait for itself.
  [[nodiscard]] bool send(const SharedBytes& message, Duration at_most = (Duration::max)());

  // For a producer that must not wait, as one on another loop: `fn` is called in a task of the
  // connection's loop, when there is room after a try_send() that said `full`, and when the
  // connection has ended. Before the first try_send().
  void on_room(std::move_only_function<void()> fn);

  // Bytes on their way to the loop.
  std::uint64_t pending() const;
  bool ended() const;
  // Messages that the connection refused on arrival: max_output with Overflow::drop, or the budget.
  std::uint64_t dropped() const;

 private:
  ConnectionRef connection_;
  std::shared_ptr<internal::ProducerSide> side_;
};

}  // namespace weir
