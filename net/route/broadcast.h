// Broadcast: sends one message to many connections, on any number of loops. The message is encoded
// once and not copied; one task per message is posted to each loop that has members.
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

// The treatment of a message for a slow member. A member is slow when its queued output has reached
// high_water, has not fallen to half of that since, and its socket takes no more.
enum class SlowPolicy : std::uint8_t {
  skip,         // the member does not get this message
  latest_only,  // once it has drained, the member gets only the newest message of that time
  close,        // the member is reset, with output_overflow
};

class Broadcast {
 public:
  // A message for three members counts three times.
  struct Stats {
    std::uint64_t members = 0;    // now
    std::uint64_t delivered = 0;  // queued for a member
    std::uint64_t skipped = 0;    // not sent to a member, or replaced by a newer message
    std::uint64_t dropped = 0;    // of the skipped: max_output or the budget refused the message
    std::uint64_t closed = 0;     // members that SlowPolicy::close reset

    // The difference of the counters; `members` is copied from `later`.
    friend Stats operator-(Stats later, const Stats& earlier) {
      return metrics_difference(later, earlier);
    }
    // The names of the metrics, for exporters and logs: weir/base/metrics.h.
    static MetricList<Stats> metrics();
  };

  // The outcome of one message for the members on one loop.
  struct Delivery {
    std::uint64_t message = 0;  // the number that send() returned
    std::uint64_t queued = 0;   // members for which it was queued
    std::uint64_t closed = 0;   // members that SlowPolicy::close reset
    // The members that lost a message: this one or, with SlowPolicy::latest_only, an older one that
    // this one replaced. Valid for the call.
    std::span<const ConnectionRef> left_out;
  };

  explicit Broadcast(SlowPolicy slow = SlowPolicy::skip);
  // At any time. Messages sent before are still delivered, except the one that
  // SlowPolicy::latest_only keeps for a slow member. [any]
  ~Broadcast();
  Broadcast(const Broadcast&) = delete;
  Broadcast& operator=(const Broadcast&) = delete;

  // `fn` is called for each message on each loop that has members, after the message was queued for
  // them; with several loops, concurrently. It may join, leave, send and close. An exception from
  // it is logged. It may also be called after ~Broadcast, for messages that were sent before. Call
  // on_delivery() before the first join().
  void on_delivery(std::function<void(const Delivery&)> fn);

  // The connection gets all messages sent from now on, until it ends or leaves, and none that was
  // sent before. So a program that stores the last message, joins and sends under one lock can give
  // a new member the last message and then all newer ones. A second join() does nothing. [loop] of
  // the connection
  void join(TcpConnection& connection);
  void leave(TcpConnection& connection);

  // Sends the message to all members except `except`. Only posts tasks, so it may be called from
  // any handler. All members get messages in the same order; those of one thread keep the order of
  // its calls. If max_output or the budget refuses the message for a member, Options::overflow of
  // its server decides. Returns the number of the message, from 1; 0 for an empty message. [any]
  std::uint64_t send(const SharedBytes& message, const ConnectionRef& except = {});

  Stats stats() const;  // [any]

 private:
  struct Shared;
  const std::unique_ptr<Shared> shared_;
};

}  // namespace weir
