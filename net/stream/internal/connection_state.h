// The state of a Connection beside TcpConnection::State, in values that can be drawn: the picture
// stands in connection_life.cc. [loop]
#pragma once

#include <bit>
#include <cstdint>

#include "weir/base/requirements.h"

namespace weir::internal {

// Why a connection is not read. Several reasons may hold at once; it is read while none does.
class ReadGate {
 public:
  enum Reason : std::uint8_t {
    paused = 1,       // pause_reading() without its resume_reading()
    output_high = 2,  // Pressure is not low
    no_budget = 4,    // it holds much of the budget of buffered bytes, which is spent
    backing_off = 8,  // ENOBUFS or ENOMEM is waited out
    peer_ended = 16,  // the peer's FIN was read
    closed = 32,      // the connection is
  };

  bool open() const { return (reasons_ & kReasons) == 0; }
  // Whether nothing but `reasons` keeps it shut.
  bool open_but_for(unsigned reasons) const { return (reasons_ & kReasons & ~reasons) == 0; }
  bool shut_by(Reason reason) const { return (reasons_ & reason) != 0; }
  void shut(Reason reason) { reasons_ = static_cast<std::uint8_t>(reasons_ | reason); }
  void lift(unsigned reasons) { reasons_ = static_cast<std::uint8_t>(reasons_ & ~reasons); }
  // True once after it has opened, at the next call.
  bool take_opened() {
    const bool was_shut = (reasons_ & kWasShut) != 0;
    reasons_ = static_cast<std::uint8_t>(open() ? reasons_ & kReasons : reasons_ | kWasShut);
    return was_shut && open();
  }

 private:
  static constexpr unsigned kReasons = 63;
  static constexpr unsigned kWasShut = 64;  // as the last take_opened() found it
  std::uint8_t reasons_ = 0;
};

// Our direction of the stream.
enum class WriteSide : std::uint8_t {
  open,
  finishing,  // shutdown(): our FIN follows what is queued
  finished,   // our FIN was sent
  failed,     // a send found the peer gone; the connection is read to its end
};

// Output that waits, by the water marks.
enum class Pressure : std::uint8_t {
  low,      // below the high mark, or not yet above it
  high,     // above it and not yet down to the low one; on_blocked is still to be called
  blocked,  // the same, and on_blocked was called
};

// All zero for most connections most of the time, and compared as one word then.
struct ConnectionStatus {
  ReadGate gate;
  WriteSide write_side = WriteSide::open;
  Pressure pressure = Pressure::low;
  bool want_write : 1 = false;       // the socket refused output: EPOLLOUT is wanted
  bool settle_queued : 1 = false;    // in the loop's flush phase
  bool offer_input : 1 = false;      // input_ goes to the handler again, before more is read
  bool draining : 1 = false;         // server shutdown: closes when what has arrived is read
  bool refilled : 1 = false;         // on_drained itself has passed the high mark again
  bool holds_producers : 1 = false;  // Overflow::pause made others wait for this one
  bool slack : 1 = false;            // input_ was mostly empty: looked at again in a second
  bool indirect : 1 = false;         // a transport or a pump stands before the socket

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
