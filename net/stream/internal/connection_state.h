// The state of a Connection besides TcpConnection::State. A drawing is in connection_life.cc.
// [loop]
#pragma once

#include <bit>
#include <cstdint>

#include "weir/base/requirements.h"

namespace weir::internal {

// The reasons not to read a connection. Several may exist at once; it is read while there is none.
class ReadGate {
 public:
  enum Reason : std::uint8_t {
    paused = 1,       // pause_reading() without its resume_reading()
    output_high = 2,  // Pressure is not low
    no_budget = 4,    // the budget of buffered bytes is spent, and it holds much of that
    backing_off = 8,  // after ENOBUFS or ENOMEM, for kBackOff
    peer_ended = 16,  // the peer's FIN was read
    closed = 32,      // the connection is closed
  };

  bool open() const { return (reasons_ & kReasons) == 0; }
  // Whether there are no reasons other than `reasons`.
  bool open_but_for(unsigned reasons) const { return (reasons_ & kReasons & ~reasons) == 0; }
  bool shut_by(Reason reason) const { return (reasons_ & reason) != 0; }
  void shut(Reason reason) { reasons_ = static_cast<std::uint8_t>(reasons_ | reason | kWasShut); }
  void lift(unsigned reasons) { reasons_ = static_cast<std::uint8_t>(reasons_ & ~reasons); }
  // Whether the gate is open now and was shut since the previous call, however briefly.
  bool take_opened() {
    if (reasons_ != kWasShut) return false;
    reasons_ = 0;
    return true;
  }

 private:
  static constexpr unsigned kReasons = 63;
  static constexpr unsigned kWasShut = 64;  // since the last take_opened()
  std::uint8_t reasons_ = 0;
};

// Our direction of the stream.
enum class WriteSide : std::uint8_t {
  open,
  finishing,  // shutdown(): our FIN follows what is queued
  finished,   // our FIN was sent
  failed,     // a send found the peer gone; input is read to its end
};

// Where the waiting output is between the water marks.
enum class Pressure : std::uint8_t {
  low,      // the high mark was not reached since the low mark
  high,     // reached, and not yet back at the low mark; on_blocked is due
  blocked,  // as high, and on_blocked was called
};

// All zero for most connections most of the time, which ordinary() tests as one word.
struct ConnectionStatus {
  ReadGate gate;
  WriteSide write_side = WriteSide::open;
  Pressure pressure = Pressure::low;
  bool want_write : 1 = false;       // the socket refused output: EPOLLOUT is wanted
  bool settle_queued : 1 = false;    // in the loop's flush phase
  bool redeliver : 1 = false;        // the handler gets input_ again before more is read
  bool draining : 1 = false;         // server shutdown: closes when all arrived input is read
  bool refilled : 1 = false;         // on_drained itself has passed the high mark again
  bool holds_producers : 1 = false;  // Overflow::pause paused producers of this one
  bool slack : 1 = false;            // input_ was mostly empty: checked again in a second
  bool indirect : 1 = false;         // a transport or a pump reads and writes the socket

  bool ordinary() const { return std::bit_cast<std::uint32_t>(*this) == 0; }
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
  handshake,
};

}  // namespace weir::internal
