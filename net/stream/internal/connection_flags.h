// The flags and the deadlines of a TcpConnection. Internal to the tcp floor. [loop]
#pragma once

#include "weir/base/requirements.h"

#include <bit>
#include <cstdint>

namespace weir::internal {

// Exceptional states; all false for most connections most of the time.
struct ConnectionFlags {
  bool read_eof : 1 = false;         // the peer's FIN was read
  bool write_shut : 1 = false;       // our FIN was sent
  bool shutdown_wanted : 1 = false;  // our FIN follows what is queued
  bool write_failed : 1 = false;     // a send found the peer gone; reading what it left
  bool want_write : 1 = false;       // the socket refused output: EPOLLOUT is wanted
  bool blocked : 1 = false;          // over the high mark and not yet under the low one
  bool blocked_told : 1 = false;     // on_blocked was called for it
  bool settle_queued : 1 = false;    // in the loop's flush phase
  bool backing_off : 1 = false;      // waiting out ENOBUFS or ENOMEM
  bool holds_producers : 1 = false;  // Overflow::pause made others wait for this one
  bool offer_input : 1 = false;      // input_ goes to the handler again, before more is read
  bool draining : 1 = false;         // server shutdown: closes when what has arrived is read
  bool starved : 1 = false;          // not read until the budget of buffered bytes has room
  bool relayed : 1 = false;          // handler_ is a RelayPair
  bool refilled : 1 = false;         // on_drained itself has passed the high mark again
  bool gate_shut : 1 = false;        // may_read() said no, as follow_read_gate() last saw it
  bool slack : 1 = false;            // input_ was mostly empty: looked at again in a second
  std::uint32_t unused : 15 = 0;     // every bit has a value, for any()

  bool any() const { return std::bit_cast<std::uint32_t>(*this) != 0; }
};

enum class Deadline : std::uint8_t {
  write_stall,
  first_byte,
  message,
  idle,
  read_idle,
  heartbeat,
  drain,
  linger,
};

}  // namespace weir::internal
