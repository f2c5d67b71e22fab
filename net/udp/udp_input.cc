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

// Calls the handler, catches what it throws, and sends what it has gathered. Afterwards the socket
// may be closed, and its owner gone.
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

// An event that leads to nothing must not come for ever: epoll reports errors and hang-ups whether
// one wants them or not.
void UdpSocketImpl::on_ready(std::uint32_t events) {
  constexpr std::uint32_t kOdd = EPOLLERR | EPOLLHUP | EPOLLRDHUP;
  bool progress = false;
  if ((events & EPOLLERR) != 0) progress = take_error();
  if (may_receive() && (events & (EPOLLIN | kOdd)) != 0 && receive_turn()) progress = true;
  if (open() && (events & EPOLLOUT) != 0 && refused_) {
    refused_ = false;
    flush_queue();
    progress = true;
  }
  tell_news();
  if (!open()) return;
  if (progress) {
    odd_events_ = 0;
  } else if ((events & kOdd) != 0) {
    odd_event();
  }
  update_interest();
}

// Nothing is received any more after a shutdown(2) by somebody else, and the kernel says so without
// end. (One such event alone can be an error that something else has taken already.)
void UdpSocketImpl::odd_event() {
  if (++odd_events_ < kMaxOddEvents) return;
  loop_.cancel(receive_timer_);
  receive_waits_ = true;  // for ever
  tell(Errno(ESHUTDOWN));
}

// What SO_ERROR gives is taken away by asking. What it does not give may lie in the error queue, if
// the program has asked for one (IP_RECVERR).
bool UdpSocketImpl::take_error() {
  const Errno error = socket_.socket.error();
  if (error == 0) return sys::drop_queued_error(socket_.socket.fd()).has_value();
  tell(error);
  return true;
}

void UdpSocketImpl::tell(Errno error) {
  ++counters_.errors;
  call_handler("on_error", [&] { handler_->on_error(*owner_, error); });
}

// What sending has found out. It is told here, since sending happens inside the user's calls, too.
void UdpSocketImpl::tell_news() {
  // What the handlers send may fail again, without end: that is news for the next turn.
  for (const Errno error : std::exchange(errors_, {})) {
    if (!open()) return;
    tell(error);
  }
  for (const FailedDatagram& failure : std::exchange(failures_, {})) {
    if (!open()) return;
    call_handler("on_send_failed", [&] { handler_->on_send_failed(*owner_, failure); });
  }
  if (open() && drained_wanted_ && !refusing() && queue_.bytes() <= options_.max_queued / 2) {
    drained_wanted_ = false;
    call_handler("on_drained", [&] { handler_->on_drained(*owner_); });
  }
  if (open() && (!errors_.empty() || !failures_.empty())) news();  // of what those calls sent
}

bool UdpSocketImpl::behind() const {
  return behind_since_ && loop_.now() - *behind_since_ < kCatchUp;
}

// True: something came of it.
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

// A message may be many datagrams. The handler sees as many at once as there are views.
void UdpSocketImpl::deliver(std::size_t count) {
  std::size_t shown = 0;
  const auto add = [&](const Datagram& datagram) {
    io_->views[shown++] = datagram;
    if (shown == io_->views.size()) {
      show(shown);
      shown = 0;
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
  if (shown > 0) show(shown);
}

void UdpSocketImpl::show(std::size_t count) {
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

// The errors of a datagram socket concern datagrams that it sent, so it goes on: but not faster and
// faster if there is no end to them, or no memory.
void UdpSocketImpl::receive_failed(Errno error) {
  ++receive_errors_;
  if (!error.is_memory() && receive_errors_ <= kPatience) {
    tell(error);
    return;
  }
  if (receive_errors_ == kPatience + 1) tell(error);
  if (open()) wait_to_receive(receive_back_off_.next());
}

// Where there is no memory for a timer either, the next turn asks again.
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
  tell_news();
  update_interest();
}

}  // namespace weir::internal
