// UdpServer: datagram sockets on any number of addresses, on one loop or on several.
//
// The server belongs to the thread of the loop that it is constructed with. With threads > 0 each
// address has a socket on each of the server's own loops, and the kernel distributes the peers over
// them by a hash (SO_REUSEPORT): all datagrams from one address and port arrive on one loop. Set
// handlers before the first listen().
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
    // Number of loops that the server creates, each on a thread of its own. 0: everything runs on
    // the loop that the server was constructed with.
    std::size_t threads = 0;
    // In place of `threads`: uses the loops of this pool. Several servers may share a pool, which
    // must outlive them.
    LoopPool* pool = nullptr;
    // Options of each socket. The server sets reuse_port itself.
    UdpSocket::Options socket{};
    EventLoop::Options loop{};  // of the loops that the server creates
  };

  // How to shut down. Times count from the call of shutdown().
  struct Ending {
    // Datagrams still queued at the deadline are offered to the kernel once more, then dropped.
    Duration deadline{0};
    // Datagrams are received and answered normally for this time, at most until the deadline. The
    // grace always lasts this long, because there are no connections whose end could shorten it.
    Duration grace{0};
  };

  explicit UdpServer(EventLoop& loop) : UdpServer(loop, Options{}) {}
  UdpServer(EventLoop& loop, Options options);
  // On the loop's thread; also from inside a handler there. Closes all sockets immediately, without
  // a call of any event. Waits until the server's own threads have ended.
  ~UdpServer();
  UdpServer(const UdpServer&) = delete;
  UdpServer& operator=(const UdpServer&) = delete;

  // Handlers: see DatagramHandler for when each is called. With several loops they are called
  // concurrently.
  void on_datagrams(std::move_only_function<void(UdpSocket&, std::span<const Datagram>)> fn);
  void on_send_failed(std::move_only_function<void(UdpSocket&, const FailedDatagram&)> fn);
  void on_drained(std::move_only_function<void(UdpSocket&)> fn);
  void on_error(std::move_only_function<void(UdpSocket&, Errno)> fn);
  // In place of the functions above: use_handler() sets one handler for all loops.
  // handlers_per_loop() sets a factory, which the first listen() calls once for each loop on the
  // thread of that loop. Such a handler serves all addresses, and is destroyed on its loop after
  // its last call. An exception of the factory leaves that listen().
  void use_handler(std::shared_ptr<DatagramHandler> handler);
  void handlers_per_loop(std::function<std::shared_ptr<DatagramHandler>(EventLoop&)> factory);

  // Receives on one more address; returns the bound address, with the port that the kernel chose.
  // The socket of a Unix address is on the first loop.
  [[nodiscard]] Result<SocketAddress> listen(std::string_view address);
  [[nodiscard]] Result<SocketAddress> listen(const SocketAddress& address);

  // After the grace: serves datagrams that the kernel has already received, for one turn at most,
  // stops receiving, closes when the queued datagrams are sent or at `deadline`, and then calls
  // `done` on the server's loop. A further call may bring the deadline and the end of the grace
  // forward, and adds its `done`. The server may be destroyed in `done`. [any]
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
