// Acceptor: takes connections from one listening socket on one loop. Internal to the tcp floor.
// [loop]
//
// It makes one accept4(2) a wake-up, because on a quiet listener a second one is nearly always
// EAGAIN, and doubles that for every turn in a row that finds the queue not yet empty. When
// descriptors run out it draws breath, and if there is still none it lets the waiting clients go
// through the spare one and leaves the listener alone for kBackOff: neither they nor the loop spin.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>

#include "weir/base/counter.h"
#include "weir/base/fd.h"
#include "weir/base/mutex.h"
#include "weir/base/token_bucket.h"
#include "weir/net/reactor/channel.h"
#include "weir/net/reactor/event_loop.h"
#include "weir/net/socket/listening_socket.h"
#include "weir/net/tcp/internal/spare_descriptor.h"

namespace weir::internal {

class Acceptor final : private IoHandler {
 public:
  // Accepts in one turn before established connections have theirs.
  static constexpr int kMaxAcceptsPerTurn = 64;
  static constexpr Duration kBackOff = std::chrono::milliseconds(100);
  // Enough for the loop to close the connections that turn out to be dead already.
  static constexpr Duration kBreath = std::chrono::milliseconds(1);
  // Pauses for the rate's sake are so long at least: not a wake-up for each that is let in.
  static constexpr Duration kRatePause = std::chrono::milliseconds(10);

  struct Options {
    Trigger trigger = Trigger::level;
    bool exclusive = false;       // other loops watch the same socket
    TokenBucket* rate = nullptr;  // null: no bound; else it outlives the Acceptor
  };
  struct Counters {
    Counter accepted;
    Counter shed;         // closed at once for want of descriptors
    Counter errors;       // of single connections: ECONNABORTED and kin
    Counter back_offs;    // pauses of the listener, for want of something
    Counter rate_pauses;  // and because so many a second are enough
  };
  using Sink = std::move_only_function<void(Fd)>;

  Acceptor(EventLoop& loop, std::shared_ptr<ListeningSocket> socket, Options options, Sink sink);
  ~Acceptor();

  // Leaves the queue alone, and goes on; what comes meanwhile waits in it. stop() takes it in any
  // case.
  void hold();
  void go_on();
  // Lets no new handshake begin; those under way end up in the queue as before.
  void refuse_new();
  // Accepts what is queued already, then lets go of the socket; the last to do so closes it. A lent
  // socket it leaves. The Acceptor may be inside its own sink, and is of no further use.
  void stop();
  // Lets go of a socket that another process listens on too; what is queued is left to that one,
  // and the file of a Unix path.
  void leave();
  // Lets go of the socket; what is queued is lost with the last one that has it.
  void close();

  const Counters& counters() const { return counters_; }  // [any]

  // What waits in the kernel to be accepted.
  struct Queue {
    SocketAddress address;
    std::uint32_t waiting = 0;
    std::uint32_t limit = 0;
  };
  // Null when it has let go of its socket, and for Unix sockets, of whose queue no socket option
  // tells (sock_diag(7) does: weir-sockstat). [any]
  std::optional<Queue> queue() const;

 private:
  enum class Outcome { taken, empty, failed_one, out_of_descriptors, out_of_memory, dead };

  void on_ready(std::uint32_t events) override;
  void on_interest_refused(Errno error) override;
  void take_some();
  void take_queued();
  bool rate_allows();
  Outcome accept_one();
  void back_off(Errno error);
  void pause(Duration duration);
  void resume();

  // Null: closed. Written on the loop only, and under the mutex, which queue() holds while it asks
  // the kernel: so it is always this loop that lets go.
  std::shared_ptr<ListeningSocket> socket_;
  mutable Mutex socket_mutex_;
  Channel channel_;
  const Options options_;
  Sink sink_;
  const std::shared_ptr<SpareDescriptor> spare_ = SpareDescriptor::shared();
  int budget_ = 1;
  std::uint64_t spent_in_turn_ = ~std::uint64_t{0};  // the turn that used the budget up last
  bool epoll_refused_ = false;                       // that is why it backs off
  bool held_ = false;
  Errno last_error_;
  TimerId resume_timer_;
  Counters counters_;
};

}  // namespace weir::internal
