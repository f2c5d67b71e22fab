// Broadcast: one message to many connections, on any number of loops. The message is encoded once
// and copied nowhere; each loop that has members is posted one task for it.
//
//   weir::Broadcast room;
//   server.on_open([&](weir::TcpConnection& c) { room.join(c); });
//   server.on_data([&](weir::TcpConnection& c, weir::Buffer& in) {
//     room.send(weir::SharedBytes::copy(in.take()), c.ref());   // to all but its sender
//   });
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <span>

#include "weir/base/export.h"
#include "weir/base/metrics.h"
#include "weir/net/buffer/shared_bytes.h"
#include "weir/net/stream/connection_ref.h"

namespace WEIR_EXPORT weir {

class TcpConnection;

// What becomes of a message for a member that is slow: whose socket does not take what waits, which
// reached its high_water and is not back at half of that.
enum class SlowPolicy : std::uint8_t {
  skip,         // it does not get this message
  latest_only,  // of what comes meanwhile it gets the newest, once it has drained
  close,        // it is reset, with output_overflow
};

class Broadcast {
 public:
  // Each counts members, not messages.
  struct Stats {
    std::uint64_t members = 0;    // now
    std::uint64_t delivered = 0;  // messages queued
    std::uint64_t skipped = 0;    // messages left out, those that a newer one replaced with them
    std::uint64_t dropped = 0;    // of those: because max_output or the budget refused them
    std::uint64_t closed = 0;     // members that SlowPolicy::close reset

    // The difference of the counters; `members` is that of `later`.
    friend Stats operator-(Stats later, const Stats& earlier);
    // Their names, for exporters and logs: weir/base/metrics.h.
    static MetricList<Stats> metrics();
  };

  // What became of one message for the members of one loop.
  struct Delivery {
    std::uint64_t message = 0;  // as send() returned it
    std::uint64_t queued = 0;   // members
    std::uint64_t closed = 0;
    // Those whose connection lost a message: this one or, with SlowPolicy::latest_only, an older
    // one that this one replaced. Valid for the call.
    std::span<const ConnectionRef> left_out;
  };

  explicit Broadcast(SlowPolicy slow = SlowPolicy::skip);
  // At any time, on any thread. What was sent before is still delivered, but for what waits for a
  // slow member to drain.
  ~Broadcast();
  Broadcast(const Broadcast&) = delete;
  Broadcast& operator=(const Broadcast&) = delete;

  // Has `fn` called for each message, on each loop that has members, after it was handed out there;
  // with several loops, from all of them at once. It may join, leave, send and close. An exception
  // that leaves it is logged. It may still be called for messages that were sent before
  // ~Broadcast. Before the first join().
  void on_delivery(std::function<void(const Delivery&)> fn);

  // The connection gets what is sent from now on, until it ends or leaves, and nothing that was
  // sent before: who keeps the last message under a lock, joins and sends under the same lock can
  // give a late one the last message and then all newer ones. Joining twice is joining once.
  // [loop] of the connection
  void join(TcpConnection& connection);
  void leave(TcpConnection& connection);

  // Hands the message to all members but `except`. Never acts inside the call, so it may come from
  // any handler. All members get messages in the same order, which for one thread's is the order
  // of its calls. A member whose max_output or budget refuses the message does not get it, as
  // Overflow says. Returns the number of the message, from 1; 0 when it is empty. [any]
  std::uint64_t send(const SharedBytes& message, const ConnectionRef& except = {});

  Stats stats() const;  // [any]

 private:
  struct Shared;
  const std::unique_ptr<Shared> shared_;
};

}  // namespace weir
