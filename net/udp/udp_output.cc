// UdpSocket: from send() to the socket.
//
// Datagrams that a handler sends are gathered in the loop's tables and leave when the handler
// returns. Bytes that are part of the received batch are not copied for that. All other datagrams,
// and those that the socket does not take, are copied into the queue.
#include <netinet/in.h>

#include <algorithm>
#include <cerrno>
#include <new>
#include <utility>

#include "weir/net/sys/sys.h"
#include "weir/net/udp/internal/udp_socket_impl.h"

namespace weir::internal {

namespace {

// The length field of UDP includes its header of 8 bytes (RFC 768). The kernel checks smaller
// limits and returns EMSGSIZE.
constexpr std::size_t kMaxPayload = 65527;

// Stores a report. Without memory all stored reports are lost; Stats::send_failed still counts
// them.
template <typename T>
void try_push(std::vector<T>& to, T value, std::size_t limit) try {
  if (to.size() < limit) to.push_back(std::move(value));
} catch (const std::bad_alloc&) {
  to.clear();
}

}  // namespace

DatagramResult UdpSocketImpl::send(const AddressView& to, const void* info,
                                   std::span<const std::byte> bytes) {
  core_of(loop_).check_thread("UdpSocket::send");
  if (!open() || (to.empty() && !connected_)) return DatagramResult::closed;
  if (is_ip() && bytes.size() > kMaxPayload) return DatagramResult::too_long;
  Outgoing out{.to = to, .info = info, .info_size = 0, .number = accepted_};
  if (info != nullptr) {
    out.info_size = socket_.family == AF_INET6 ? sizeof(in6_pktinfo) : sizeof(in_pktinfo);
  }
  if (io_->running == this && queue_.empty()) return gather(out, bytes);
  return enqueue(out, bytes);
}

DatagramResult UdpSocketImpl::gather(const Outgoing& out, std::span<const std::byte> bytes) {
  if (!io_->add_copy(out, bytes)) {
    send_gathered();
    if (!queue_.empty() || !io_->add_copy(out, bytes)) return enqueue(out, bytes);
  }
  ++accepted_;
  return DatagramResult::queued;
}

DatagramResult UdpSocketImpl::enqueue(const Outgoing& out, std::span<const std::byte> bytes) {
  const std::size_t cost = DatagramQueue::cost(out, bytes.size());
  if (cost > options_.max_queued) return DatagramResult::too_long;
  if (!make_room(cost)) {
    if (options_.queue_full == QueueFull::refuse) {
      drained_wanted_ = true;
      return DatagramResult::refused;
    }
    ++counters_.dropped;
    return DatagramResult::dropped;
  }
  queue_.push(out, bytes);
  ++accepted_;
  if (!refusing()) {
    if (queue_.bytes() >= kFlushAtOnce) flush_queue();
    queue_flush();
  }
  return DatagramResult::queued;
}

// Makes room for `cost` bytes in the queue. False: there is none.
bool UdpSocketImpl::make_room(std::size_t cost) {
  if (cost > options_.max_queued) return false;
  const auto fits = [&] { return queue_.bytes() + cost <= options_.max_queued; };
  if (fits()) return true;
  if (!refusing()) flush_queue();
  if (options_.queue_full == QueueFull::drop_oldest) {
    while (!fits() && !queue_.empty()) {
      queue_.pop(1);
      ++counters_.dropped;
    }
  }
  return fits();
}

// Requests on_flush(), which sends the queue and reports.
void UdpSocketImpl::queue_flush() {
  if (flush_queued_) return;
  flush_queued_ = true;
  core_of(loop_).flush_later(*this);
}

// Sends the datagrams that the handler has gathered. The queue was empty when the first was
// gathered.
void UdpSocketImpl::send_gathered() {
  if (io_->count() == 0) return;
  const std::size_t done = transmit();
  if (done < io_->count()) queue_gathered(done);
  io_->clear();
  if (!errors_.empty() || !failures_.empty()) queue_flush();
}

// send() has accepted these datagrams. So with QueueFull::refuse a lost one is reported as failed.
void UdpSocketImpl::queue_gathered(std::size_t from) {
  for (std::size_t i = from; i < io_->count(); ++i) {
    if (try_queue(io_->outgoing(i), io_->bytes(i))) continue;
    if (options_.queue_full == QueueFull::refuse) {
      failed(i, Errno(ENOBUFS));
    } else {
      ++counters_.dropped;
    }
  }
}

// False: there is no room, or no memory.
bool UdpSocketImpl::try_queue(const Outgoing& out, std::span<const std::byte> bytes) try {
  if (!make_room(DatagramQueue::cost(out, bytes.size()))) return false;
  queue_.push(out, bytes);
  return true;
} catch (const std::bad_alloc&) {
  return false;
}

void UdpSocketImpl::flush_queue() {
  if (queue_.empty()) return;
  // The tables may hold datagrams of a handler that is running, of this or another socket.
  if (io_->running != nullptr) io_->running->send_gathered();
  while (!queue_.empty() && !refusing()) {
    queue_.look([&](const Outgoing& out, std::span<const std::byte> bytes) {
      io_->add(out, bytes);
      return !io_->full();
    });
    const std::size_t done = transmit();
    io_->clear();
    queue_.pop(done);
  }
  if (!errors_.empty() || !failures_.empty() || drained_wanted_) queue_flush();
  update_interest();
}

// Gives the datagrams of the tables to the kernel. Returns the number that were sent or have
// failed; the others have to wait for the socket.
std::size_t UdpSocketImpl::transmit() {
  std::size_t done = 0;
  single_ = 0;
  while (done < io_->count() && !refusing()) {
    const std::size_t limit = single_ > 0 ? 0 : segment_limit_;
    const auto messages = io_->messages(done, limit, socket_.family == AF_INET6);
    const auto taken = sys::send_batch(socket_.socket.fd(), messages);
    ++counters_.send_calls;
    if (!taken) {
      const std::size_t lost = send_error(taken.error(), done);
      for (std::size_t i = 0; i < lost; ++i) failed(done + i, taken.error());
      done += lost;
      single_ -= std::min(single_, lost);
      continue;
    }
    if (single_ > 0) lower_segment_limit();
    send_retries_ = 0;
    if (suspect_ != 0) note_error(std::exchange(suspect_, Errno()));
    std::size_t sent = 0;
    for (std::size_t i = 0; i < *taken; ++i) sent += io_->run(i);
    note_sent(done, sent);
    done += sent;
  }
  return done;
}

void UdpSocketImpl::note_sent(std::size_t first, std::size_t count) {
  std::uint64_t bytes = 0;
  for (std::size_t i = first; i < first + count; ++i) bytes += io_->bytes(i).size();
  counters_.sent.add(count);
  counters_.bytes_out.add(bytes);
}

// The kernel refused the first message of a call. Returns the number of datagrams that have failed
// for good. If 0, a retry follows, either at once or after a wait.
std::size_t UdpSocketImpl::send_error(Errno error, std::size_t at) {
  const std::size_t run = io_->run(0);
  const bool second_try = suspect_ != 0;
  if (second_try && error != suspect_) note_error(suspect_);
  suspect_ = Errno();
  if (error == EAGAIN) {
    // For a Unix socket, epoll reports when its connected peer has room, but not when another
    // receiver has. A datagram to a full receiver of that kind fails, so that it does not delay
    // datagrams to others.
    if (!is_ip() && !goes_to_peer(io_->outgoing(at))) return run;
    refused_ = true;
    update_interest();
    return 0;
  }
  if (error.is_memory()) {
    if (++send_retries_ <= kMaxSendRetries && wait_to_send()) return 0;
    send_retries_ = 0;
    return run;
  }
  // On a connected socket the first error may be an ICMP error for an earlier datagram, which the
  // kernel returns before it looks at the current one.
  if (connected_ && !second_try) {
    suspect_ = error;
    return 0;
  }
  // A message of several segments is retried as single datagrams. If those succeed, the segments
  // were the reason.
  if (run > 1 && (error == EINVAL || error == EMSGSIZE || error == EIO)) {
    single_ = run;
    single_error_ = error;
    single_size_ = io_->bytes(at).size();
    return 0;
  }
  return run;
}

bool UdpSocketImpl::goes_to_peer(const Outgoing& out) const {
  return connected_ &&
         (out.to.empty() || AddressView(peer_address_of(socket_.socket.fd())) == out.to);
}

// The segments did not fit the path (EMSGSIZE, EINVAL), or the network card cannot compute their
// checksums (EIO).
void UdpSocketImpl::lower_segment_limit() {
  const bool too_large = single_error_ == EMSGSIZE || single_error_ == EINVAL;
  segment_limit_ = too_large ? single_size_ - 1 : 0;
  single_ = 0;
}

void UdpSocketImpl::failed(std::size_t at, Errno error) {
  ++counters_.send_failed;
  const Outgoing& out = io_->outgoing(at);
  const FailedDatagram failure{
      .number = out.number, .to = out.to.copy(), .size = io_->bytes(at).size(), .error = error};
  try_push(failures_, failure, kMaxReports);
}

void UdpSocketImpl::note_error(Errno error) { try_push(errors_, error, kMaxReports); }

// epoll does not report when the kernel has memory again, so a timer is used. False: there is no
// memory for the timer either.
bool UdpSocketImpl::wait_to_send() try {
  loop_.cancel(send_timer_);  // it may still run when close() makes the last try
  send_timer_ = loop_.run_after(kRetry, [this] {
    send_waits_ = false;
    flush_queue();
    report_pending();
    update_interest();
    check_invariants();
  });
  send_waits_ = true;
  return true;
} catch (const std::bad_alloc&) {
  return false;
}

}  // namespace weir::internal
