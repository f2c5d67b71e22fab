// UdpSocketImpl: the implementation of UdpSocket. It outlives the UdpSocket until the end of the
// turn, so that a handler may destroy the UdpSocket. Receiving is in udp_input.cc, sending in
// udp_output.cc. Internal to the udp floor. [loop]
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <vector>

#include "weir/base/back_off.h"
#include "weir/base/counter.h"
#include "weir/base/fd.h"
#include "weir/net/reactor/channel.h"
#include "weir/net/reactor/internal/loop_core.h"
#include "weir/net/udp/datagram.h"
#include "weir/net/udp/internal/datagram_callbacks.h"
#include "weir/net/udp/internal/datagram_queue.h"
#include "weir/net/udp/internal/loop_datagrams.h"
#include "weir/net/udp/internal/open_datagram.h"
#include "weir/net/udp/udp_socket.h"

namespace weir::internal {

class UdpSocketImpl final : public IoHandler, public FlushClient, public Kept {
 public:
  UdpSocketImpl(UdpSocket& owner, EventLoop& loop, const UdpSocket::Options& options);
  ~UdpSocketImpl() = default;  // after on_reap(), which closes the descriptor
  UdpSocketImpl(const UdpSocketImpl&) = delete;
  UdpSocketImpl& operator=(const UdpSocketImpl&) = delete;

  Result<SocketAddress> bind(const SocketAddress& address);
  Result<SocketAddress> connect(const SocketAddress& peer);
  DatagramResult send(const AddressView& to, const void* info, std::span<const std::byte> bytes);
  void pause();
  void resume();
  void close();
  // The UdpSocket is being destroyed: closes, and calls no handler any more.
  void orphan();

  bool open() const { return state_ == State::open; }
  bool paused() const { return pauses_ > 0; }
  // UdpSocket::behind(). False after kCatchUp: datagrams that waited in the kernel at its beginning
  // have been received by then.
  bool behind() const;
  DatagramCallbacks& callbacks(const char* call);
  UdpSocket::Stats stats() const;

  EventLoop& loop_;
  const UdpSocket::Options options_;
  OpenDatagram socket_;
  std::shared_ptr<DatagramHandler> handler_;
  DatagramQueue queue_;
  std::uint64_t accepted_ = 0;

 private:
  enum class State : std::uint8_t { unbound, open, closed };
  // The most failures, and the most errors, that are stored for a report.
  static constexpr std::size_t kMaxReports = 64;
  // A queue of this size is flushed immediately; a smaller one at the end of the turn.
  static constexpr std::size_t kFlushAtOnce = 64 * 1024;
  // After this number of error events in a row without an error or a datagram, receiving ends.
  static constexpr int kMaxSpuriousEvents = 16;
  static constexpr Duration kCatchUp = std::chrono::seconds(1);
  // The wait after an error that epoll does not end, such as ENOBUFS. For receiving it doubles, up
  // to kMaxRetry.
  static constexpr Duration kRetry = std::chrono::milliseconds(20);
  static constexpr Duration kMaxRetry = std::chrono::seconds(1);
  // Receive errors in a row without a wait between them. The next one is the last that is reported.
  static constexpr int kErrorsBeforeBackOff = 8;
  // The most retries of one datagram for which the kernel has no memory.
  static constexpr int kMaxSendRetries = 50;

  void on_ready(std::uint32_t events) override;
  void on_interest_refused(Errno error) override;
  void on_deadline() override {}
  void on_flush() override;
  void on_reap() override;

  template <typename Call>
  void call_handler(const char* event, Call&& call);
  Result<void> ensure_socket(const SocketAddress& address, const char* doing);
  Result<SocketAddress> started(const std::string& doing);
  void start();
  void update_interest();
  void check_invariants() const;  // see udp_input.cc; O(1), nothing in release builds
  void report_error(Errno error);
  void report_pending();

  // Input.
  bool may_receive() const { return open() && pauses_ == 0 && !receive_waits_; }
  bool take_error();
  bool receive_turn();
  void deliver(std::size_t count);
  void deliver_views(std::size_t count);
  void receive_failed(Errno error);
  void wait_to_receive(Duration wait);
  void spurious_event();

  // Output.
  bool refusing() const { return refused_ || send_waits_; }
  // on_drained is due.
  bool drained() const {
    return drained_wanted_ && !refusing() && queue_.bytes() <= options_.max_queued / 2;
  }
  bool is_ip() const { return socket_.family != AF_UNIX; }
  DatagramResult gather(const Outgoing& out, std::span<const std::byte> bytes);
  DatagramResult enqueue(const Outgoing& out, std::span<const std::byte> bytes);
  bool make_room(std::size_t cost);
  void queue_gathered(std::size_t from);
  bool try_queue(const Outgoing& out, std::span<const std::byte> bytes);
  void send_gathered();
  void flush_queue();
  std::size_t transmit();
  std::size_t send_error(Errno error, std::size_t at);
  void lower_segment_limit();
  bool goes_to_peer(const Outgoing& out) const;
  void failed(std::size_t at, Errno error);
  void note_error(Errno error);
  void note_sent(std::size_t first, std::size_t count);
  bool wait_to_send();
  void queue_flush();

  UdpSocket* owner_;  // null: destroyed
  std::optional<Channel> channel_;
  LoopDatagrams* const io_;
  std::shared_ptr<DatagramCallbacks> callbacks_;
  std::vector<FailedDatagram> failures_;  // not reported yet
  std::vector<Errno> errors_;             // not reported yet
  std::size_t segment_limit_ = 0;         // the largest segment for UDP_SEGMENT, in bytes; 0: off
  std::size_t single_ = 0;       // datagrams of a failed message that are still sent one by one
  std::size_t single_size_ = 0;  // bytes of each of them
  Errno single_error_;           // of the failed message
  Errno suspect_;  // the error of the last send, if it may belong to an earlier datagram; else 0
  TimerId receive_timer_;
  TimerId send_timer_;
  std::optional<TimePoint> behind_since_;  // since then datagrams may wait in the kernel
  std::uint32_t pauses_ = 0;
  int receive_errors_ = 0;  // in a row
  BackOff receive_back_off_{kRetry, kMaxRetry};
  int send_retries_ = 0;     // in a row
  int spurious_events_ = 0;  // in a row
  State state_ = State::unbound;
  bool connected_ = false;
  bool control_ = false;         // recvmmsg(2) asks for control data: packet_info or coalesce
  bool refused_ = false;         // the socket was full (EAGAIN): waits for EPOLLOUT
  bool send_waits_ = false;      // the kernel had no memory (ENOBUFS): waits for send_timer_
  bool receive_waits_ = false;   // waits for receive_timer_, or receiving has ended (ESHUTDOWN)
  bool flush_queued_ = false;    // on_flush() will be called
  bool drained_wanted_ = false;  // a send() was refused: on_drained has to be called

  struct {
    Counter received, bytes_in, truncated, sent, bytes_out, dropped, send_failed, errors,
        receive_calls, send_calls;
  } counters_;
};

}  // namespace weir::internal
