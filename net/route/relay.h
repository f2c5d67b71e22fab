// relay(): connects two connections of one loop to each other, as proxies and tunnels do. Bytes
// received from one are sent to the other, until both streams have ended. [loop]
#pragma once

#include <cstdint>
#include <functional>
#include <memory>

#include "weir/base/export.h"
#include "weir/net/stream/connection_handler.h"

namespace WEIR_EXPORT weir {

class TcpConnection;

}  // namespace weir

namespace weir::internal {
class RelayPair;
}

namespace WEIR_EXPORT weir {

struct RelayOptions {
  enum class Path : std::uint8_t {
    automatic,  // a direction is spliced while it carries much data, and copied otherwise
    copy,       // through the loop's receive block
    splice,     // splice(2) whenever a pipe can be opened, even for single bytes
  };
  // Splicing keeps the bytes in the kernel. It needs connections without a Transport. When it is
  // not possible (no descriptors for a pipe, a filter that forbids it), bytes are copied.
  Path path = Path::automatic;
};

struct RelayResult {
  std::uint64_t a_to_b = 0;  // bytes that the kernel accepted for b since relay()
  std::uint64_t b_to_a = 0;
  CloseReason a;
  CloseReason b;
};

// Refers to a relay. Copyable; may outlive the relay.
class RelayHandle {
 public:
  RelayHandle() = default;
  // True until both connections have ended; false in on_done.
  bool active() const;
  // Resets both connections; on_done is called later.
  void cancel() const;

 private:
  friend class internal::RelayPair;
  explicit RelayHandle(std::weak_ptr<internal::RelayPair> pair) : pair_(std::move(pair)) {}
  std::weak_ptr<internal::RelayPair> pair_;
};

using RelayDone = std::move_only_function<void(const RelayResult&)>;

// Takes over both connections. Their handlers are not called any more (except the on_close of a
// connection that had already ended); `on_done` is called once, when both have ended. Input that a
// handler left, or leaves in its current call, is forwarded first. May be called from inside a
// handler of either connection.
//
// - Back-pressure: a side is not read while the other has high_water bytes of queued output or its
//   pipe is full, and is read again when half of that is left. The directions are independent: a
//   peer that accepts nothing can still send. Memory: docs/flow_control.md.
// - The FIN of one side is forwarded after the bytes before it. The other direction continues, with
//   or without allow_half_open. When both directions have ended, both connections close.
// - If one side is reset or fails, the other is sent the bytes that came before, and is then reset
//   as well: when its peer has acknowledged all of them, or after its drain_timeout. Its reason is
//   `aborted`.
// - If one side ends in order for another reason (close(), idle_timeout, shutdown of its server),
//   so does the other, at once. TcpServer::shutdown() of the server of one side waits for both, and
//   its deadline applies to both.
// - A pause_reading() by the program stays in force until its resume_reading(). Bytes that the
//   program sends on a relayed connection are inserted at an arbitrary place of the stream.
//   set_handler() is an error (CHECK).
// - ~TcpServer (or ~TcpClient) of one side resets that side, and on_done is not called any more.
RelayHandle relay(TcpConnection& a, TcpConnection& b, RelayOptions options = {},
                  RelayDone on_done = {});
inline RelayHandle relay(TcpConnection& a, TcpConnection& b, RelayDone on_done) {
  return relay(a, b, {}, std::move(on_done));
}

}  // namespace weir
