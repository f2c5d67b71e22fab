// UdpSocket: from the socket to the handler.
#include <sys/epoll.h>

#include <algorithm>
#include <cerrno>
#include <exception>
#include <new>
#include <utility>

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
  if (!open()) return;
  if (progress) {
    spurious_events_ = 0;
  } else if ((events & kUnwanted) != 0) {
    spurious_event();
  }
  update_interest();
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
  if (open() && drained_wanted_ && !refusing() && queue_.bytes() <= options_.max_queued / 2) {
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
}

}  // namespace weir::internal
