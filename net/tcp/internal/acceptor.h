// Acceptor: accepts connections from one listening socket on one loop. Internal to the tcp floor.
// [loop]
//
// It calls accept4(2) once per wake-up, because on a quiet listener the second call nearly always
// returns EAGAIN. The number doubles for each turn in a row in which the queue was not empty
// afterwards. When no descriptor is left, it pauses for kDescriptorPause. If there is still none,
// it closes the waiting clients by means of SpareDescriptor and pauses for kBackOff, so that
// neither the clients nor the loop retry without end.
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
#include "weir/net/reactor/loop_client.h"
#include "weir/net/socket/listening_socket.h"
#include "weir/net/tcp/internal/spare_descriptor.h"

namespace weir::internal {

class Acceptor final : public Kept, private IoHandler {
 public:
  // The most accepts in one turn, so that established connections are not delayed for long.
  static constexpr int kMaxAcceptsPerTurn = 64;
  static constexpr Duration kBackOff = std::chrono::milliseconds(100);
  // Enough for the loop to close accepted connections whose peer has already gone.
  static constexpr Duration kDescriptorPause = std::chrono::milliseconds(1);
  // The shortest pause for the accept rate, so that not each connection costs a wake-up.
  static constexpr Duration kRatePause = std::chrono::milliseconds(10);

  struct Options {
    Trigger trigger = Trigger::level;
    bool exclusive = false;       // other loops watch the same socket
    TokenBucket* rate = nullptr;  // null: no limit; otherwise it outlives the Acceptor
  };
  struct Counters {
    Counter accepted;
    Counter shed;         // closed right after the accept: no descriptor was left
    Counter errors;       // of single connections, such as ECONNABORTED
    Counter back_offs;    // pauses for kBackOff
    Counter rate_pauses;  // pauses for Options::rate
  };
  using Sink = std::move_only_function<void(Fd)>;

  Acceptor(EventLoop& loop, std::shared_ptr<ListeningSocket> socket, Options options, Sink sink);
  ~Acceptor();

  // hold() stops accepting, go_on() resumes. Connections wait in the queue meanwhile; stop()
  // accepts them even if held.
  void hold();
  void go_on();
  // Rejects new handshakes; those in progress still reach the queue.
  void refuse_new();
  // Accepts the queued connections, then releases the socket; the last acceptor that does so closes
  // it. Calls leave() for a lent socket. May be called inside the sink. The Acceptor cannot be used
  // afterwards.
  void stop();
  // Releases a socket on which another process listens, too. The queued connections and the file of
  // a Unix path are left to that process.
  void leave();
  // Releases the socket. When the last acceptor does so, the queued connections are lost.
  void close();

  const Counters& counters() const { return counters_; }  // [any]

  // The queue of the socket in the kernel.
  struct Queue {
    SocketAddress address;
    std::uint32_t waiting = 0;
    std::uint32_t limit = 0;
  };
  // Null after the socket was released, and for Unix sockets, because no socket option reports
  // their queue (sock_diag(7) does: weir-sockstat). [any]
  std::optional<Queue> queue() const;

 private:
  enum class Outcome { taken, empty, failed_one, out_of_descriptors, out_of_memory, dead };

  void on_ready(std::uint32_t events) override;
  void close_dead();
  void on_interest_refused(Errno error) override;
  void take_some();
  void take_queued();
  bool rate_allows();
  Outcome accept_one();
  void back_off(Errno error);
  void pause(Duration duration);
  void resume();

  // Null: released. Written on the loop only, and with the mutex. queue() holds the mutex during
  // its system call, so the loop always releases the last reference, not another thread.
  std::shared_ptr<ListeningSocket> socket_;
  mutable Mutex socket_mutex_;
  Channel channel_;
  const Options options_;
  Sink sink_;
  const std::shared_ptr<SpareDescriptor> spare_ = SpareDescriptor::shared();
  int budget_ = 1;                                   // accepts in the next turn
  std::uint64_t spent_in_turn_ = ~std::uint64_t{0};  // the last turn that used the budget up
  bool epoll_refused_ = false;                       // the reason of the current back-off
  bool held_ = false;                                // by hold()
  Errno last_error_;
  TimerId resume_timer_;
  Counters counters_;
};

}  // namespace weir::internal
