// UdpServer: datagram sockets on any number of addresses, on one loop or on several.
//
// The server belongs to the thread of the loop it is made with. With threads > 0 each address has a
// socket on each of the server's own loops, and the kernel spreads the peers over them by a hash
// (SO_REUSEPORT): what one peer sends from one port comes to one loop. Handlers are set before the
// first listen().
#pragma once

#include <cstddef>
#include <functional>
#include <memory>
#include <span>
#include <string_view>

#include "weir/base/export.h"
#include "weir/base/result.h"
#include "weir/net/reactor/event_loop.h"
#include "weir/net/socket/socket_address.h"
#include "weir/net/udp/datagram.h"
#include "weir/net/udp/udp_socket.h"

namespace WEIR_EXPORT weir {

class LoopPool;

class UdpServer {
 public:
  struct Options {
    // Loops of the server's own; 0: all on the loop it was made with.
    std::size_t threads = 0;
    // Instead: the loops of this pool, which other servers may use too and which outlives this one.
    LoopPool* pool = nullptr;
    // Of each socket. reuse_port is the server's to set.
    UdpSocket::Options socket{};
    EventLoop::Options loop{};  // of the server's own loops
  };

  // How to end; times from now on.
  struct Ending {
    // What then still waits to be sent is dropped.
    Duration deadline{0};
    // Datagrams are received and answered as before for this long, at most until the deadline.
    // Since there are no connections, nothing ends the grace earlier.
    Duration grace{0};
  };

  explicit UdpServer(EventLoop& loop) : UdpServer(loop, Options{}) {}
  UdpServer(EventLoop& loop, Options options);
  // On the loop's thread; also from inside a handler there. Closes all at once, without a call of
  // any handler. Waits for the server's own threads.
  ~UdpServer();
  UdpServer(const UdpServer&) = delete;
  UdpServer& operator=(const UdpServer&) = delete;

  // Handlers: see DatagramHandler for when each is called. With threads, from all loops at once.
  void on_datagrams(std::move_only_function<void(UdpSocket&, std::span<const Datagram>)> fn);
  void on_send_failed(std::move_only_function<void(UdpSocket&, const FailedDatagram&)> fn);
  void on_drained(std::move_only_function<void(UdpSocket&)> fn);
  void on_error(std::move_only_function<void(UdpSocket&, Errno)> fn);
  // Instead of the functions above: one handler for all loops, or one made for each on its thread
  // by the first listen(), which serves all addresses and is destroyed on its loop, after its last
  // call. What the factory throws comes out of that listen().
  void use_handler(std::shared_ptr<DatagramHandler> handler);
  void handlers_per_loop(std::function<std::shared_ptr<DatagramHandler>(EventLoop&)> factory);

  // Receives on one more address; returns the address bound, with the port the kernel chose. Unix
  // addresses live on the first loop.
  [[nodiscard]] Result<SocketAddress> listen(std::string_view address);
  [[nodiscard]] Result<SocketAddress> listen(const SocketAddress& address);

  // Receives no more (after the grace), serves what the kernel has received and nobody has fetched
  // yet, one turn's worth, and closes when what is queued has left, or at `deadline`; then calls
  // `done` on the server's loop. A further call may bring both times forward and adds its `done`.
  // The server may be destroyed in `done`. [any]
  void shutdown(Duration deadline, std::move_only_function<void()> done);
  void shutdown(const Ending& how, std::move_only_function<void()> done);

  UdpSocket::Stats stats() const;  // of all sockets [any], after the first listen()
  std::size_t loop_count() const;  // [any], after the first listen()
  EventLoop& loop(std::size_t index) const;

 private:
  class WEIR_HIDDEN Impl;
  std::shared_ptr<Impl> impl_;
};

}  // namespace weir
