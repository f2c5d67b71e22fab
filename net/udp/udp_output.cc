// UdpSocket: from send() to the socket.
//
// What a handler sends is gathered in the loop's tables, by reference where it lies in what was
// received, and leaves when the handler returns. All else, and what the socket does not take, is
// copied into the queue.
#include <netinet/in.h>

#include <algorithm>
#include <cerrno>
#include <new>
#include <utility>

#include "weir/net/sys/sys.h"
#include "weir/net/udp/internal/udp_socket_impl.h"

namespace weir::internal {

namespace {

// UDP's length field counts its own header; the kernel says EMSGSIZE to the rest.
constexpr std::size_t kMaxPayload = 65527;

// What is to be told of; where memory is short, the counters alone tell.
template <typename T>
void try_push(std::vector<T>& to, T value, std::size_t most) try {
  if (to.size() < most) to.push_back(std::move(value));
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
    news();
  }
  return DatagramResult::queued;
}

// False: there is none.
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

// Has the end of the turn look at what waits or is to be told.
void UdpSocketImpl::news() {
  if (flush_queued_) return;
  flush_queued_ = true;
  core_of(loop_).flush_later(*this);
}

// What the handler has sent so far. The queue was empty when the first of it came.
void UdpSocketImpl::send_gathered() {
  if (io_->count() == 0) return;
  const std::size_t done = transmit();
  if (done < io_->count()) keep_gathered(done);
  io_->clear();
  if (!errors_.empty() || !failures_.empty()) news();
}

// These were accepted, so who would rather be refused is told of what is lost now.
void UdpSocketImpl::keep_gathered(std::size_t from) {
  for (std::size_t i = from; i < io_->count(); ++i) {
    if (keep(io_->outgoing(i), io_->bytes(i))) continue;
    if (options_.queue_full == QueueFull::refuse) {
      failed(i, Errno(ENOBUFS));
    } else {
      ++counters_.dropped;
    }
  }
}

// False: there is no room, or no memory.
bool UdpSocketImpl::keep(const Outgoing& out, std::span<const std::byte> bytes) try {
  if (!make_room(DatagramQueue::cost(out, bytes.size()))) return false;
  queue_.push(out, bytes);
  return true;
} catch (const std::bad_alloc&) {
  return false;
}

void UdpSocketImpl::flush_queue() {
  if (queue_.empty()) return;
  // The tables may hold what another socket's handler, which is running, has gathered.
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
  if (!errors_.empty() || !failures_.empty() || drained_wanted_) news();
  update_interest();
}

// Gives the tables' datagrams to the kernel. Returns how many are done with, sent or failed; the
// others wait for the socket.
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
    if (single_ > 0) segments_were_at_fault();
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

// The first message of a call was not taken. Returns how many datagrams never will be; if none, the
// next try, now or later, is another one.
std::size_t UdpSocketImpl::send_error(Errno error, std::size_t at) {
  const std::size_t run = io_->run(0);
  const bool second_try = suspect_ != 0;
  if (second_try && error != suspect_) note_error(suspect_);
  suspect_ = Errno();
  if (error == EAGAIN) {
    // epoll tells of a Unix socket whether its own peer has room. Of others it tells nothing, so
    // what they have no room for is lost as it would be on the way, and holds up nobody.
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
  // On a connected socket the first may be ICMP's answer to an earlier datagram, handed out before
  // this one was looked at.
  if (connected_ && !second_try) {
    suspect_ = error;
    return 0;
  }
  // Of several segments: each by itself may still go, and then we know what was wrong.
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

// They did not fit the path (EMSGSIZE, EINVAL), or the network card cannot compute their checksums
// (EIO).
void UdpSocketImpl::segments_were_at_fault() {
  const bool too_large = single_error_ == EMSGSIZE || single_error_ == EINVAL;
  segment_limit_ = too_large ? single_size_ - 1 : 0;
  single_ = 0;
}

void UdpSocketImpl::failed(std::size_t at, Errno error) {
  ++counters_.send_failed;
  const Outgoing& out = io_->outgoing(at);
  const FailedDatagram failure{
      .number = out.number, .to = out.to.copy(), .size = io_->bytes(at).size(), .error = error};
  try_push(failures_, failure, kMaxTold);
}

void UdpSocketImpl::note_error(Errno error) { try_push(errors_, error, kMaxTold); }

// Memory for a datagram says nothing about readiness, so epoll is not asked. False: there is none
// for a timer either.
bool UdpSocketImpl::wait_to_send() try {
  loop_.cancel(send_timer_);  // close() tries once more while one is set
  send_timer_ = loop_.run_after(kRetry, [this] {
    send_waits_ = false;
    flush_queue();
    tell_news();
    update_interest();
  });
  send_waits_ = true;
  return true;
} catch (const std::bad_alloc&) {
  return false;
}

}  // namespace weir::internal
