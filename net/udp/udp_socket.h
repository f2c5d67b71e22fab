// UdpSocket: a datagram socket (UDP over IPv4 or IPv6, or Unix) on one loop. [loop]
//
//   weir::UdpSocket socket(loop);
//   socket.on_datagrams([](weir::UdpSocket& udp, std::span<const weir::Datagram> batch) {
//     for (const weir::Datagram& in : batch) udp.reply(in, in.payload);
//   });
//   auto bound = socket.bind("0.0.0.0:7000");
//
// One recvmmsg(2) receives a batch, one sendmmsg(2) sends the answers. All calls must come from the
// loop's thread; those that change something check this in every build. Set handlers before bind()
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
  // The most datagrams per call of on_datagrams, and the most receive calls per turn of the loop,
  // so that a flood does not starve other sockets.
  static constexpr std::size_t kMaxBatch = 64;
  static constexpr int kMaxReceivesPerTurn = 4;
  // The longest datagram that is received whole, in bytes. UDP has no longer ones; Unix sockets may
  // have.
  static constexpr std::size_t kMaxDatagram = 65535;

  struct Options {
    bool reuse_addr = false;   // SO_REUSEADDR: several sockets may bind one address (multicast)
    bool reuse_port = false;   // SO_REUSEPORT: the same; the kernel selects one by a hash
    bool v6_only = false;      // if false, "[::]" also receives IPv4
    bool broadcast = false;    // SO_BROADCAST: may send to broadcast addresses
    bool packet_info = false;  // Datagram::local_address(); reply() answers from that address
    // Sends datagrams to one peer, of one size, as one large packet that the kernel or the network
    // card splits (UDP_SEGMENT). Falls back silently if the kernel or the path does not support it.
    bool segment = true;
    // Receives such packets whole, and splits them here (UDP_GRO). Falls back silently.
    bool coalesce = false;
    // SO_RCVBUF and SO_SNDBUF in bytes; the kernel limits them to net.core.rmem_max and wmem_max.
    // 0: the kernel's default.
    int receive_buffer = 0;
    int send_buffer = 0;
    // Bytes that are queued while the socket takes nothing, including addresses and bookkeeping.
    std::size_t max_queued = 1024 * 1024;
    QueueFull queue_full = QueueFull::drop_newest;
    unsigned unix_mode = 0600;  // permissions of the file of a Unix path
    // For multicast that this socket sends: the TTL (1: local network only), whether sockets of
    // this machine receive it too, and the interface (0: the routing table decides).
    int multicast_ttl = 1;
    bool multicast_loop = true;
    unsigned multicast_interface = 0;
  };

  struct Stats {
    std::uint64_t received = 0;  // datagrams
    std::uint64_t bytes_in = 0;
    std::uint64_t truncated = 0;  // datagrams
    std::uint64_t sent = 0;       // datagrams
    std::uint64_t bytes_out = 0;
    std::uint64_t dropped = 0;        // because of max_queued, or still queued at close()
    std::uint64_t send_failed = 0;    // datagrams that the kernel refused
    std::uint64_t errors = 0;         // reported to on_error
    std::uint64_t receive_calls = 0;  // recvmmsg(2)
    std::uint64_t send_calls = 0;     // sendmmsg(2)

    // The difference of the counters.
    friend Stats operator-(Stats later, const Stats& earlier) {
      return metrics_difference(later, earlier);
    }
    // The names of the metrics, for exporters and logs: weir/base/metrics.h.
    static MetricList<Stats> metrics();
  };

  explicit UdpSocket(EventLoop& loop) : UdpSocket(loop, Options{}) {}
  UdpSocket(EventLoop& loop, Options options);
  // Calls close(). May run inside a handler of the socket.
  ~UdpSocket();
  UdpSocket(const UdpSocket&) = delete;
  UdpSocket& operator=(const UdpSocket&) = delete;

  // Handlers: see DatagramHandler for when each is called.
  void on_datagrams(std::move_only_function<void(UdpSocket&, std::span<const Datagram>)> fn);
  void on_send_failed(std::move_only_function<void(UdpSocket&, const FailedDatagram&)> fn);
  void on_drained(std::move_only_function<void(UdpSocket&)> fn);
  void on_error(std::move_only_function<void(UdpSocket&, Errno)> fn);
  // Sets one handler object in place of the functions above.
  void use_handler(std::shared_ptr<DatagramHandler> handler);

  // Receives datagrams sent to this address; returns it, with the port that the kernel chose. If no
  // socket is bound to an existing Unix path any more, its file is replaced. close() removes the
  // file.
  [[nodiscard]] Result<SocketAddress> bind(const SocketAddress& address);
  [[nodiscard]] Result<SocketAddress> bind(std::string_view address);
  // Sets the peer: from now on the socket receives only from it, and ICMP errors are reported to
  // on_error. (Datagrams of others that arrived between bind() and this call are still delivered.)
  // Returns the local address. May follow a bind(). May be called again for another peer; that is
  // an error (EAGAIN) while datagrams for the old one are queued.
  [[nodiscard]] Result<SocketAddress> connect(const SocketAddress& peer);
  [[nodiscard]] Result<SocketAddress> connect(std::string_view peer);

  // Sends one datagram. From inside a handler of this socket: when the handler returns, together
  // with the others, in one system call. From elsewhere on the loop: at the end of the turn.
  // `bytes` need not outlive the call. Bytes inside the payload of a datagram of the current
  // on_datagrams are not copied.
  DatagramResult send_to(const AddressView& to, std::span<const std::byte> bytes);
  DatagramResult send_to(const AddressView& to, std::string_view bytes) {
    return send_to(to, std::as_bytes(std::span(bytes)));
  }
  // The same from the local address `from`, for answers that are sent after the handler returned.
  DatagramResult send_to(const AddressView& to, std::span<const std::byte> bytes,
                         const PacketInfo& from);
  // Sends to the sender of `in`; with packet_info from the address to which `in` was sent.
  DatagramResult reply(const Datagram& in, std::span<const std::byte> bytes);
  DatagramResult reply(const Datagram& in, std::string_view bytes) {
    return reply(in, std::as_bytes(std::span(bytes)));
  }
  // Sends to the connected peer.
  DatagramResult send(std::span<const std::byte> bytes);
  DatagramResult send(std::string_view bytes) { return send(std::as_bytes(std::span(bytes))); }

  // Multicast: join() also receives datagrams to the group that arrive on this interface, until
  // leave() or close(). 0: the scope of the address decides, or else the routing table.
  [[nodiscard]] Result<void> join(const SocketAddress& group, unsigned interface_index = 0);
  [[nodiscard]] Result<void> leave(const SocketAddress& group, unsigned interface_index = 0);

  // Counted: as many resumes as pauses. While paused, datagrams wait in the kernel, up to
  // receive_buffer. Datagrams that the last system call has already received are still delivered;
  // with coalesce they can be more than the current batch.
  void pause_receiving();
  void resume_receiving();
  bool receiving_paused() const;
  // Whether the kernel may have datagrams that arrived earlier: receiving stopped at the limit of
  // the turn, or a pause has just ended. False after one second in any case.
  bool behind() const;

  // Offers queued datagrams to the kernel once more, drops the rest, and closes. No event is called
  // any more.
  void close();
  bool is_open() const;

  EventLoop& loop() const;
  int fd() const;  // -1 while not open
  SocketAddress local_address() const;
  SocketAddress peer_address() const;  // unspecified: not connected
  // Datagrams that wait for the socket or for the end of the turn; bytes as for max_queued.
  std::size_t queued_bytes() const;
  std::size_t queued_datagrams() const;
  // Number of accepted sends: FailedDatagram::number of the next one.
  std::uint64_t accepted() const;
  Stats stats() const;  // [any]
  // Datagrams that the kernel dropped because the receive buffer was full (SO_MEMINFO).
  std::uint64_t kernel_drops() const;

 private:
  std::shared_ptr<internal::UdpSocketImpl> impl_;
};

// The number of an interface such as "eth0", for join() and multicast_interface; an error if no
// interface has this name.
Result<unsigned> interface_index(std::string_view name);

}  // namespace weir
