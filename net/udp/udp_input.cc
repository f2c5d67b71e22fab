// UdpSocket: from the socket to the handler, and the calls of the loop.
//
// check_invariants() verifies these rules at the end of each call of the loop (on_ready, on_flush,
// on_interest_refused, both timers):
//   1  No handler of the socket runs, and the tables of the loop are empty.
//   2  An open socket has a channel that is not removed. Once the socket is closed, the channel is
//      removed and the queue is empty. A socket whose UdpSocket was destroyed is closed.
//   3  EPOLLIN is wanted exactly while receiving is neither paused nor backed off, EPOLLOUT exactly
//      while the socket is full.
//   4  Sending waits for EPOLLOUT or for its timer, not for both.
//   5  Queued datagrams wait for one of these two, or for the flush phase.
//   6  A report that is due is made in the flush phase, which is requested: stored errors and
//      failures, and on_drained when the queue has drained.
//   7  The queue has at most max_queued bytes, and at most kMaxReports of each kind are stored.
//   8  No error of a send is undecided: a second send has decided whose error it was.
#include <sys/epoll.h>

#include <algorithm>
#include <cerrno>
#include <exception>
#include <new>
#include <utility>

#include "weir/base/check_format.h"
#include "weir/base/log_line.h"
#include "weir/net/sys/sys.h"
#include "weir/net/udp/internal/udp_socket_impl.h"

namespace weir::internal {

// Calls the handler, catches its exceptions, and sends the datagrams that it has gathered.
// Afterwards the socket may be closed and its owner destroyed.
template <typename Call>
void UdpSocketImpl::call_handler(const char* event, Call&& call) {
  if (owner_ == nullptr) return;
  const LoopDatagrams::Gathering gathering(*io_, *this);
  try {
    call();
  } catch (const std::exception& thrown) {
    WEIR_LOG_LIMITED(error, 1, "{} of a datagram socket threw: {}", event,
                     escaped(thrown.what(), kMaxLoggedText));
  } catch (...) {
    WEIR_LOG_LIMITED(error, 1, "{} of a datagram socket threw something that is no std::exception",
                     event);
  }
  if (open()) send_gathered();
}

// epoll reports errors and hang-ups also when they are not wanted. An event of this kind that has
// no effect must not keep the loop busy without end.
void UdpSocketImpl::on_ready(std::uint32_t events) {
  constexpr std::uint32_t kUnwanted = EPOLLERR | EPOLLHUP | EPOLLRDHUP;
  bool progress = false;
  if ((events & EPOLLERR) != 0) progress = take_error();
  if (may_receive() && (events & (EPOLLIN | kUnwanted)) != 0 && receive_turn()) progress = true;
  if (open() && (events & EPOLLOUT) != 0 && refused_) {
    refused_ = false;
    flush_queue();
    progress = true;
  }
  report_pending();
  if (progress) {
    spurious_events_ = 0;
  } else if (open() && (events & kUnwanted) != 0) {
    spurious_event();
  }
  update_interest();
  check_invariants();
}

// After a shutdown(2) by somebody else nothing is received any more, and epoll reports that without
// end. (A single such event can be an error that another call has already taken.)
void UdpSocketImpl::spurious_event() {
  if (++spurious_events_ < kMaxSpuriousEvents) return;
  loop_.cancel(receive_timer_);
  receive_waits_ = true;  // for good
  report_error(Errno(ESHUTDOWN));
}

// Reading SO_ERROR also clears it. If it has no error, the event may be about the error queue,
// which exists if the program has set IP_RECVERR.
bool UdpSocketImpl::take_error() {
  const Errno error = socket_.socket.error();
  if (error == 0) return sys::drop_queued_error(socket_.socket.fd()).has_value();
  report_error(error);
  return true;
}

void UdpSocketImpl::report_error(Errno error) {
  ++counters_.errors;
  call_handler("on_error", [&] { handler_->on_error(*owner_, error); });
}

// Calls the handler for the results of sends. Not at the time of the send, because that may be
// inside a call of the program.
void UdpSocketImpl::report_pending() {
  // Sends of these handlers may fail as well, without end: such failures are reported in a later
  // flush phase.
  for (const Errno error : std::exchange(errors_, {})) {
    if (!open()) return;
    report_error(error);
  }
  for (const FailedDatagram& failure : std::exchange(failures_, {})) {
    if (!open()) return;
    call_handler("on_send_failed", [&] { handler_->on_send_failed(*owner_, failure); });
  }
  if (open() && drained()) {
    drained_wanted_ = false;
    call_handler("on_drained", [&] { handler_->on_drained(*owner_); });
  }
  if (open() && (!errors_.empty() || !failures_.empty())) queue_flush();
}

bool UdpSocketImpl::behind() const {
  return behind_since_ && loop_.now() - *behind_since_ < kCatchUp;
}

// True: there was a datagram or an error.
bool UdpSocketImpl::receive_turn() {
  const std::optional<TimePoint> behind = std::exchange(behind_since_, std::nullopt);
  for (int calls = 0; calls < UdpSocket::kMaxReceivesPerTurn && may_receive(); ++calls) {
    const auto got = io_->receive(socket_.socket.fd(), control_);
    ++counters_.receive_calls;
    if (!got) {
      if (got.error() == EAGAIN) return calls > 0;
      receive_failed(got.error());
      return true;
    }
    receive_errors_ = 0;
    receive_back_off_.reset();
    deliver(*got);
    io_->end_of_batch();
    if (*got < LoopDatagrams::kBatch) {
      if (paused()) behind_since_ = behind ? behind : loop_.now();
      return *got > 0;
    }
  }
  behind_since_ = behind ? behind : loop_.now();
  return true;
}

// A message may consist of many datagrams. One call of the handler gets at most views.size() of
// them.
void UdpSocketImpl::deliver(std::size_t count) {
  std::size_t filled = 0;
  const auto add = [&](const Datagram& datagram) {
    io_->views[filled++] = datagram;
    if (filled == io_->views.size()) {
      deliver_views(filled);
      filled = 0;
    }
    return open();
  };
  for (std::size_t i = 0; i < count; ++i) {
    LoopDatagrams::Received got = io_->received(i);
    const std::span<const std::byte> whole = got.datagram.payload;
    if (got.segment == 0 || got.segment >= whole.size()) {
      if (!add(got.datagram)) return;
      continue;
    }
    for (std::size_t at = 0; at < whole.size(); at += got.segment) {
      got.datagram.payload = whole.subspan(at, std::min(got.segment, whole.size() - at));
      if (!add(got.datagram)) return;
    }
  }
  if (filled > 0) deliver_views(filled);
}

void UdpSocketImpl::deliver_views(std::size_t count) {
  const auto batch = std::span<const Datagram>(io_->views).first(count);
  std::uint64_t bytes = 0;
  std::uint64_t truncated = 0;
  for (const Datagram& datagram : batch) {
    bytes += datagram.payload.size();
    truncated += datagram.truncated ? 1 : 0;
  }
  counters_.received.add(count);
  counters_.bytes_in.add(bytes);
  counters_.truncated.add(truncated);
  call_handler("on_datagrams", [&] { handler_->on_datagrams(*owner_, batch); });
}

// A receive error is about a datagram that was sent earlier, so the socket stays open. After many
// errors in a row, or without memory, receiving waits, so that the loop is not kept busy.
void UdpSocketImpl::receive_failed(Errno error) {
  ++receive_errors_;
  if (!error.is_memory() && receive_errors_ <= kErrorsBeforeBackOff) {
    report_error(error);
    return;
  }
  if (receive_errors_ == kErrorsBeforeBackOff + 1) report_error(error);
  if (open()) wait_to_receive(receive_back_off_.next());
}

// If there is no memory for the timer, the next turn tries again.
void UdpSocketImpl::wait_to_receive(Duration wait) try {
  receive_timer_ = loop_.run_after(wait, [this] {
    receive_waits_ = false;
    update_interest();
    check_invariants();
  });
  receive_waits_ = true;
} catch (const std::bad_alloc&) {
  receive_waits_ = false;
}

void UdpSocketImpl::on_flush() {
  flush_queued_ = false;
  if (!open()) return;
  if (!refusing()) flush_queue();
  report_pending();
  update_interest();
  check_invariants();
}

// The numbers are those of the list at the top.
void UdpSocketImpl::check_invariants() const {
  WEIR_DCHECK(io_->running == nullptr && io_->count() == 0, "UdpSocket 1: the tables are in use");
  if (!open()) {
    WEIR_DCHECK(!channel_ || channel_->removed(), "UdpSocket 2: a closed socket is watched");
    WEIR_DCHECK(queue_.empty(), "UdpSocket 2: a closed socket has a queue");
    return;
  }
  WEIR_DCHECK(owner_ != nullptr, "UdpSocket 2: open without its UdpSocket");
  WEIR_DCHECK(channel_ && !channel_->removed(), "UdpSocket 2: open, but not watched");
  WEIR_DCHECK(channel_->reading() == may_receive(), "UdpSocket 3: EPOLLIN is wanted wrongly");
  WEIR_DCHECK(channel_->writing() == refused_, "UdpSocket 3: EPOLLOUT is wanted wrongly");
  WEIR_DCHECK(!refused_ || !send_waits_, "UdpSocket 4: sending waits twice");
  WEIR_DCHECK(queue_.empty() || refusing() || flush_queued_,
              "UdpSocket 5: {} queued datagrams wait for nothing", queue_.count());
  WEIR_DCHECK((errors_.empty() && failures_.empty()) || flush_queued_,
              "UdpSocket 6: {} errors and {} failures are never reported", errors_.size(),
              failures_.size());
  WEIR_DCHECK(!drained() || flush_queued_, "UdpSocket 6: on_drained is never called");
  WEIR_DCHECK(queue_.bytes() <= options_.max_queued, "UdpSocket 7: {} bytes are queued",
              queue_.bytes());
  WEIR_DCHECK(errors_.size() <= kMaxReports && failures_.size() <= kMaxReports,
              "UdpSocket 7: {} errors and {} failures are stored", errors_.size(),
              failures_.size());
  WEIR_DCHECK(suspect_ == 0, "UdpSocket 8: the error {} is undecided", suspect_.value());
}

}  // namespace weir::internal
