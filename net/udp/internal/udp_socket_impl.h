// UdpSocketImpl: what a UdpSocket is made of. It outlives the UdpSocket to the end of the turn, so
// that a handler may destroy that. Internal to the udp floor; receiving stands in udp_input.cc,
// sending in udp_output.cc. [loop]
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

class UdpSocketImpl final : public IoHandler, public FlushClient {
 public:
  UdpSocketImpl(UdpSocket& owner, EventLoop& loop, const UdpSocket::Options& options);
  // Its descriptor was closed in the reap phase.
  ~UdpSocketImpl() = default;
  UdpSocketImpl(const UdpSocketImpl&) = delete;
  UdpSocketImpl& operator=(const UdpSocketImpl&) = delete;

  Result<SocketAddress> bind(const SocketAddress& address);
  Result<SocketAddress> connect(const SocketAddress& peer);
  DatagramResult send(const AddressView& to, const void* info, std::span<const std::byte> bytes);
  void pause();
  void resume();
  void close();
  // The UdpSocket goes: no handler is called any more.
  void orphan();

  bool open() const { return state_ == State::open; }
  bool paused() const { return pauses_ > 0; }
  // More may have come than was received so far. Not for longer than kCatchUp: what lay there when
  // that began has been received by then.
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
  // Failures kept to be told; a kernel that refuses everything shows in the counter.
  static constexpr std::size_t kMaxTold = 64;
  // What is sent from outside the handler waits for the end of the turn, up to so much.
  static constexpr std::size_t kFlushAtOnce = 64 * 1024;
  // Events in a row that bring nothing and are no error: then nobody listens to them any more.
  static constexpr int kMaxOddEvents = 16;
  static constexpr Duration kCatchUp = std::chrono::seconds(1);
  // After an error that tells nothing about readiness. For receiving it doubles, up to the second.
  static constexpr Duration kRetry = std::chrono::milliseconds(20);
  static constexpr Duration kMaxRetry = std::chrono::seconds(1);
  // Errors of receiving in a row that are told at once.
  static constexpr int kPatience = 8;
  // Tries to send one datagram for which there is no memory.
  static constexpr int kMaxSendRetries = 50;

  void on_ready(std::uint32_t events) override;
  void on_interest_refused(Errno error) override;
  void on_deadline() override {}
  void on_flush() override;
  void on_reap() override;

  template <typename Call>
  void call_handler(const char* event, Call&& call);
  Result<void> ensure_socket(const SocketAddress& address, const char* doing);
  void start();
  void update_interest();
  void tell(Errno error);
  void tell_news();

  // Input.
  bool may_receive() const { return open() && pauses_ == 0 && !receive_waits_; }
  bool take_error();
  bool receive_turn();
  void deliver(std::size_t count);
  void show(std::size_t count);
  void receive_failed(Errno error);
  void wait_to_receive(Duration wait);
  void odd_event();

  // Output.
  bool refusing() const { return refused_ || send_waits_; }
  bool is_ip() const { return socket_.family != AF_UNIX; }
  DatagramResult gather(const Outgoing& out, std::span<const std::byte> bytes);
  DatagramResult enqueue(const Outgoing& out, std::span<const std::byte> bytes);
  bool make_room(std::size_t cost);
  void keep_gathered(std::size_t from);
  bool keep(const Outgoing& out, std::span<const std::byte> bytes);
  void send_gathered();
  void flush_queue();
  std::size_t transmit();
  std::size_t send_error(Errno error, std::size_t at);
  void segments_were_at_fault();
  bool goes_to_peer(const Outgoing& out) const;
  void failed(std::size_t at, Errno error);
  void note_error(Errno error);
  void note_sent(std::size_t first, std::size_t count);
  bool wait_to_send();
  void news();

  UdpSocket* owner_;  // null: gone
  std::optional<Channel> channel_;
  LoopDatagrams* const io_;
  std::shared_ptr<DatagramCallbacks> callbacks_;
  std::vector<FailedDatagram> failures_;  // to be told
  std::vector<Errno> errors_;             // to be told
  std::size_t segment_limit_ = 0;         // the largest that is sent by UDP_SEGMENT
  std::size_t single_ = 0;                // to be sent one by one, after an error of their message
  std::size_t single_size_ = 0;           // of each
  Errno single_error_;
  Errno suspect_;  // what the last send said, if it may be about an earlier datagram; else 0
  TimerId receive_timer_;
  TimerId send_timer_;
  std::optional<TimePoint> behind_since_;  // not all that was there could be received
  std::uint32_t pauses_ = 0;
  int receive_errors_ = 0;  // in a row
  BackOff receive_back_off_{kRetry, kMaxRetry};
  int send_retries_ = 0;  // in a row
  int odd_events_ = 0;    // in a row
  State state_ = State::unbound;
  bool connected_ = false;
  bool control_ = false;         // packet_info or coalesce
  bool refused_ = false;         // EAGAIN: EPOLLOUT is wanted
  bool send_waits_ = false;      // ENOBUFS: a timer is
  bool receive_waits_ = false;   // ENOMEM, or too many errors
  bool flush_queued_ = false;    // in the loop's flush phase
  bool drained_wanted_ = false;  // a send() was refused

  struct {
    Counter received, bytes_in, truncated, sent, bytes_out, dropped, send_failed, errors,
        receive_calls, send_calls;
  } counters_;
};

}  // namespace weir::internal
