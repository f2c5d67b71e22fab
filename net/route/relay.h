// relay(): joins two connections of one loop, as proxies and tunnels do. What comes from one is
// sent to the other, until both streams have ended. [loop]
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
    automatic,  // a direction is spliced while it carries much, and copied while it does not
    copy,       // through the loop's receive block
    splice,     // splice(2) whenever there is a pipe to be had, also for single bytes
  };
  // Splicing keeps the bytes in the kernel. It is for plain sockets; where it is not possible (no
  // descriptors for a pipe, a filter that forbids it), they are copied.
  Path path = Path::automatic;
};

struct RelayResult {
  std::uint64_t a_to_b = 0;  // bytes that the kernel took for b since relay()
  std::uint64_t b_to_a = 0;
  CloseReason a;
  CloseReason b;
};

// What one may keep of a relay. Copyable; may outlive it.
class RelayHandle {
 public:
  RelayHandle() = default;
  // Until on_done.
  bool active() const;
  // Resets both connections; on_done follows.
  void cancel() const;

 private:
  friend class internal::RelayPair;
  explicit RelayHandle(std::weak_ptr<internal::RelayPair> pair) : pair_(std::move(pair)) {}
  std::weak_ptr<internal::RelayPair> pair_;
};

using RelayDone = std::move_only_function<void(const RelayResult&)>;

// Takes over both connections: their handlers are told nothing any more, `on_done` is called once
// instead, when both have ended. Input that a handler left, or leaves in the call that it is in, is
// forwarded first. May be called from inside a handler of either.
//
// - Back-pressure: a side is not read while the other has its high_water of bytes waiting, or its
//   pipe is full, and read again when half of that is left. Each direction by itself: that one side
//   takes nothing does not stop what it sends. Memory: docs/flow_control.md.
// - The FIN of one side is passed on after what came before it; the other direction goes on
//   (allow_half_open or not). When both have ended, both connections close.
// - If one side is reset or fails, the other is sent what came before and is then reset, too: when
//   its peer has acknowledged everything, or after its drain_timeout. Its reason is `aborted`.
//   If one side ends in order otherwise (close(), idle_timeout, shutdown of its server), so does
//   the other, at once. TcpServer::shutdown() of either waits for both, and its deadline is theirs.
// - pause_reading() of the program's own stays in force until it is taken back. Sending on a
//   relayed connection puts the bytes anywhere into the stream; set_handler() is a mistake.
// - ~TcpServer (or ~TcpClient) of either side resets that side, and on_done is forgotten with its
//   handlers.
RelayHandle relay(TcpConnection& a, TcpConnection& b, RelayOptions options = {},
                  RelayDone on_done = {});
inline RelayHandle relay(TcpConnection& a, TcpConnection& b, RelayDone on_done) {
  return relay(a, b, {}, std::move(on_done));
}

}  // namespace weir
