// UdpSocket: a datagram socket (UDP over IPv4 or IPv6, or Unix) on one loop. [loop]
//
//   weir::UdpSocket socket(loop);
//   socket.on_datagrams([](weir::UdpSocket& udp, std::span<const weir::Datagram> batch) {
//     for (const weir::Datagram& in : batch) udp.reply(in, in.payload);
//   });
//   auto bound = socket.bind("0.0.0.0:7000");
//
// One recvmmsg(2) brings a batch, one sendmmsg(2) takes the answers. All calls must come from the
// loop's thread; those that change something check that in every build. Set handlers before bind()
// or connect().
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <string_view>

#include "weir/base/export.h"
#include "weir/base/metrics.h"
#include "weir/base/result.h"
#include "weir/net/reactor/event_loop.h"
#include "weir/net/socket/socket_address.h"
#include "weir/net/udp/datagram.h"

namespace WEIR_EXPORT weir {

class UdpSocket {
 public:
  // Datagrams that one call of on_datagrams gets at most. A turn of the loop asks the kernel
  // kMaxReceivesPerTurn times at most, so that a flood leaves time for others.
  static constexpr std::size_t kMaxBatch = 64;
  static constexpr int kMaxReceivesPerTurn = 4;
  // What is received whole: all that UDP can carry. (Unix datagrams may be longer.)
  static constexpr std::size_t kMaxDatagram = 65535;

  struct Options {
    bool reuse_addr = false;   // SO_REUSEADDR: several may bind one address, as for multicast
    bool reuse_port = false;   // SO_REUSEPORT: the same, and the kernel spreads by hash
    bool v6_only = false;      // "[::]" takes IPv4 too unless set
    bool broadcast = false;    // SO_BROADCAST: may send to broadcast addresses
    bool packet_info = false;  // Datagram::local_address(); reply() answers from that address
    // Answers to one peer of one size leave as one large packet that the kernel or the network card
    // takes apart (UDP_SEGMENT). And: takes such packets whole and apart here (UDP_GRO). Where the
    // kernel cannot, or the path will not, it is done without.
    bool segment = true;
    bool coalesce = false;
    int receive_buffer = 0;  // SO_RCVBUF, SO_SNDBUF; cut to net.core.rmem_max and wmem_max.
    int send_buffer = 0;     // 0: the system's
    // Bytes that wait, with their addresses, while the socket takes nothing.
    std::size_t max_queued = 1024 * 1024;
    QueueFull queue_full = QueueFull::drop_newest;
    unsigned unix_mode = 0600;  // permissions of a Unix path
    // Of multicast that is sent: how many routers it may pass (1: none beyond the local network),
    // whether this machine hears it too, and by which interface (0: as the routing table says).
    int multicast_ttl = 1;
    bool multicast_loop = true;
    unsigned multicast_interface = 0;
  };

  struct Stats {
    std::uint64_t received = 0;  // datagrams
    std::uint64_t bytes_in = 0;
    std::uint64_t truncated = 0;
    std::uint64_t sent = 0;
    std::uint64_t bytes_out = 0;
    std::uint64_t dropped = 0;  // left out because of max_queued, or still waiting at close()
    std::uint64_t send_failed = 0;
    std::uint64_t errors = 0;         // told by on_error
    std::uint64_t receive_calls = 0;  // recvmmsg(2), sendmmsg(2)
    std::uint64_t send_calls = 0;

    // The difference of the counters.
    friend Stats operator-(Stats later, const Stats& earlier);
    // Their names, for exporters and logs: weir/base/metrics.h.
    static MetricList<Stats> metrics();
  };

  explicit UdpSocket(EventLoop& loop) : UdpSocket(loop, Options{}) {}
  UdpSocket(EventLoop& loop, Options options);
  // close(); also from inside a handler.
  ~UdpSocket();
  UdpSocket(const UdpSocket&) = delete;
  UdpSocket& operator=(const UdpSocket&) = delete;

  // Handlers: see DatagramHandler for when each is called.
  void on_datagrams(std::move_only_function<void(UdpSocket&, std::span<const Datagram>)> fn);
  void on_send_failed(std::move_only_function<void(UdpSocket&, const FailedDatagram&)> fn);
  void on_drained(std::move_only_function<void(UdpSocket&)> fn);
  void on_error(std::move_only_function<void(UdpSocket&, Errno)> fn);
  // Instead of the functions above.
  void use_handler(std::shared_ptr<DatagramHandler> handler);

  // Receives what is sent to this address; returns it, with the port that the kernel chose. A Unix
  // path where no socket lives any more is taken over, and removed in the end.
  [[nodiscard]] Result<SocketAddress> bind(const SocketAddress& address);
  [[nodiscard]] Result<SocketAddress> bind(std::string_view address);
  // From now on only to this peer and from it, and ICMP's answers come to on_error. (What others
  // sent between bind() and this is still told.) Returns our address. After bind(), or without it;
  // again for another peer, which is an error (EAGAIN) while datagrams to the old one wait.
  [[nodiscard]] Result<SocketAddress> connect(const SocketAddress& peer);
  [[nodiscard]] Result<SocketAddress> connect(std::string_view peer);

  // Sends one datagram. From inside its own on_datagrams all leave when that returns, by one
  // system call; from elsewhere on the loop at the end of the turn. What `bytes` refers to may go
  // at once. Bytes that lie in the payload of a datagram received there are not even copied.
  DatagramResult send_to(const AddressView& to, std::span<const std::byte> bytes);
  DatagramResult send_to(const AddressView& to, std::string_view bytes) {
    return send_to(to, std::as_bytes(std::span(bytes)));
  }
  // The same from the address of ours that `from` names, to answer later than in the handler.
  DatagramResult send_to(const AddressView& to, std::span<const std::byte> bytes,
                         const PacketInfo& from);
  // To the sender of `in`; with packet_info from the address that it was sent to.
  DatagramResult reply(const Datagram& in, std::span<const std::byte> bytes);
  DatagramResult reply(const Datagram& in, std::string_view bytes) {
    return reply(in, std::as_bytes(std::span(bytes)));
  }
  // To the connected peer.
  DatagramResult send(std::span<const std::byte> bytes);
  DatagramResult send(std::string_view bytes) { return send(std::as_bytes(std::span(bytes))); }

  // Multicast: also receives what is sent to the group by way of this interface (0: the routing
  // table's choice). Both ends with close(). An address whose scope names the interface needs none.
  [[nodiscard]] Result<void> join(const SocketAddress& group, unsigned interface_index = 0);
  [[nodiscard]] Result<void> leave(const SocketAddress& group, unsigned interface_index = 0);

  // Counted: as many resumes as pauses. What comes meanwhile waits in the kernel, as far as
  // receive_buffer reaches; but what the last system call brought is told first: with coalesce
  // that can be more than the batch at hand.
  void pause_receiving();
  void resume_receiving();
  bool receiving_paused() const;
  // More may have come than was received so far: the last turns ended at their limit, or a pause
  // has just ended. For a second at most.
  bool behind() const;

  // Offers what waits to the kernel once more, drops the rest, and closes. No handler is called
  // any more.
  void close();
  bool is_open() const;

  EventLoop& loop() const;
  int fd() const;  // -1: not open
  SocketAddress local_address() const;
  SocketAddress peer_address() const;  // unspecified: not connected
  // Waiting because the socket took nothing, or for the end of the turn.
  std::size_t queued_bytes() const;
  std::size_t queued_datagrams() const;
  // Datagrams that send() has accepted: the next one has this number (FailedDatagram).
  std::uint64_t accepted() const;
  Stats stats() const;  // [any]
  // Datagrams that the kernel threw away because nobody fetched them in time (SO_MEMINFO).
  std::uint64_t kernel_drops() const;

 private:
  std::shared_ptr<internal::UdpSocketImpl> impl_;
};

// The number of an interface such as "eth0" for join() and multicast_interface; an error if there
// is none.
Result<unsigned> interface_index(std::string_view name);

}  // namespace weir
