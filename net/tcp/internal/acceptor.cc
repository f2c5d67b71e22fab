#include "weir/net/tcp/internal/acceptor.h"

#include <fcntl.h>
#include <sys/epoll.h>

#include <algorithm>
#include <cerrno>
#include <utility>

#include "weir/base/log_line.h"
#include "weir/net/reactor/internal/loop_core.h"
#include "weir/net/sys/sys.h"

namespace weir::internal {

namespace {

// No descriptor is left for this process, or for the whole system.
bool exhausted(Errno error) { return error == EMFILE || error == ENFILE; }

}  // namespace

Acceptor::Acceptor(EventLoop& loop, std::shared_ptr<ListeningSocket> socket, Options options,
                   Sink sink)
    : socket_(std::move(socket)),
      channel_(loop, socket_->fd(), *this, options.trigger),
      options_(options),
      sink_(std::move(sink)) {
  static_cast<void>(spare_->restore());
  if (options_.exclusive) channel_.set_exclusive();
  channel_.set_reading(true);
}

Acceptor::~Acceptor() { close(); }

void Acceptor::close() {
  if (!socket_) return;
  if (resume_timer_) channel_.loop().cancel(std::exchange(resume_timer_, {}));
  channel_.remove();
  const MutexLock lock(socket_mutex_);
  socket_.reset();
}

std::optional<Acceptor::Queue> Acceptor::queue() const {
  const MutexLock lock(socket_mutex_);
  if (!socket_ || !socket_->address().is_ip()) return std::nullopt;
  const auto info = tcp_info_of(socket_->fd());
  if (!info) return std::nullopt;
  // For a listener these two fields have another meaning, see tcp_get_info() in net/ipv4/tcp.c.
  return Queue{
      .address = socket_->address(), .waiting = info->tcpi_unacked, .limit = info->tcpi_sacked};
}

// May be called from inside the sink during leave(), when the channel is already removed.
void Acceptor::hold() {
  held_ = true;
  if (!channel_.removed()) channel_.set_reading(false);
}

// Requeues the channel, because edge-triggered epoll does not repeat an event from the time of the
// hold.
void Acceptor::go_on() {
  if (!std::exchange(held_, false) || channel_.removed() || resume_timer_) return;
  channel_.set_reading(true);
  core_of(channel_).requeue(channel_, EPOLLIN);
}

void Acceptor::refuse_new() {
  if (socket_ && socket_->address().is_ip() && !socket_->lent()) socket_->refuse_new();
}

void Acceptor::stop() {
  if (socket_ && socket_->lent()) {
    leave();
    return;
  }
  if (socket_ && !socket_->address().is_ip()) socket_->refuse_new();
  take_queued();
  close();
}

void Acceptor::leave() {
  if (!socket_) return;
  socket_->leave_file();
  channel_.remove();
  // With EPOLLEXCLUSIVE the kernel may have woken only this loop for a queued connection. The other
  // process would not accept it before the next one arrives.
  if (options_.exclusive) take_queued();
  close();
}

void Acceptor::take_queued() {
  const int limit = max_backlog() + 1;  // the most connections that a queue can have
  for (int i = 0; i < limit && socket_; ++i) {
    const Outcome outcome = accept_one();
    if (outcome != Outcome::taken && outcome != Outcome::failed_one) break;
  }
}

void Acceptor::on_ready(std::uint32_t events) {
  if (resume_timer_ || held_) return;  // set earlier in this turn
  last_error_ = Errno();
  take_some();
  // A Unix socket on which another process has called shutdown(2) stays ready, with an empty queue.
  if (socket_ && last_error_ == EAGAIN && (events & EPOLLRDHUP) != 0) close_dead();
}

void Acceptor::close_dead() {
  if (socket_->end_is_news()) {
    WEIR_LOG(error, "stop listening on {}: accept: {}", socket_->address().to_string(),
             last_error_.message());
  }
  close();
}

void Acceptor::take_some() {
  const std::uint64_t turn = channel_.loop().stats().turns;
  if (turn - 1 == spent_in_turn_) budget_ = std::min(budget_ * 2, kMaxAcceptsPerTurn);
  const int budget = options_.trigger == Trigger::edge ? kMaxAcceptsPerTurn : budget_;
  int taken = 0;
  for (int i = 0; i < budget; ++i) {
    if (options_.rate && !rate_allows()) return;
    const Outcome outcome = accept_one();
    if (!socket_) return;  // the sink has closed it
    if (options_.rate && outcome != Outcome::taken) options_.rate->give_back();
    switch (outcome) {
      case Outcome::taken:
        ++taken;
        if (held_) return;  // by the sink
        break;
      case Outcome::failed_one:
        break;
      case Outcome::empty:
        budget_ = std::max(1, taken);
        return;
      case Outcome::out_of_descriptors:
        // The peers of some accepted connections may have gone while those were queued.
        if (taken > 0) {
          pause(kDescriptorPause);
          return;
        }
        // The waiting clients see an end at once, and do not hang.
        counters_.shed.add(
            static_cast<std::uint64_t>(spare_->shed(socket_->fd(), kMaxAcceptsPerTurn)));
        [[fallthrough]];
      case Outcome::out_of_memory:
        back_off(last_error_);
        return;
      case Outcome::dead:
        close_dead();
        return;
    }
  }
  spent_in_turn_ = turn;
  if (options_.trigger == Trigger::edge) core_of(channel_).requeue(channel_, EPOLLIN);
}

// False: pauses. Connections above the rate wait in the backlog.
bool Acceptor::rate_allows() {
  const Duration wait = options_.rate->take(channel_.loop().now());
  if (wait == Duration::zero()) return true;
  ++counters_.rate_pauses;
  pause(std::max(wait, kRatePause));
  return false;
}

// accept(2) also returns network errors that are pending on the connection that it removes from the
// queue. Such an error affects only that connection.
Acceptor::Outcome Acceptor::accept_one() {
  auto fd = sys::accept(socket_->fd());
  if (fd) {
    const auto spare = spare_->restore();
    if (spare || !exhausted(spare.error())) {
      ++counters_.accepted;
      sink_(std::move(*fd));
      return Outcome::taken;
    }
    // The descriptor took the place of the spare one while another loop was in shed().
    fd->reset();
    ++counters_.shed;
    static_cast<void>(spare_->restore());
    last_error_ = spare.error();
    return Outcome::out_of_descriptors;
  }
  last_error_ = fd.error();
  if (exhausted(last_error_)) return Outcome::out_of_descriptors;
  if (last_error_.is_memory()) return Outcome::out_of_memory;
  switch (last_error_.value()) {
    case EAGAIN:
      return Outcome::empty;
    case ECONNABORTED:
    case EPROTO:
    case ENETDOWN:
    case ENOPROTOOPT:
    case EHOSTDOWN:
    case ENONET:
    case EHOSTUNREACH:
    case EOPNOTSUPP:
    case ENETUNREACH:
    case ETIMEDOUT:
    case EINTR:
      ++counters_.errors;
      return Outcome::failed_one;
    case EPERM:  // a firewall rule
      return Outcome::out_of_memory;
    default:  // EINVAL: shutdown(2) of the listener; EBADF, ENOTSOCK: the descriptor was closed
      return Outcome::dead;
  }
}

void Acceptor::back_off(Errno error) {
  WEIR_LOG_LIMITED(warn, 1, "accept on {}: {}; trying again in {} ms",
                   socket_->address().to_string(), error.message(),
                   std::chrono::duration_cast<std::chrono::milliseconds>(kBackOff).count());
  ++counters_.back_offs;
  budget_ = 1;
  pause(kBackOff);
}

void Acceptor::pause(Duration duration) {
  channel_.set_reading(false);
  resume_timer_ = channel_.loop().run_after(duration, [this] { resume(); });
}

// Accepts before it registers with epoll again, so that each of several back-offs in a row costs
// one wake-up. Not after a refusal by epoll, which would also refuse the accepted connections, so
// that they would be lost.
void Acceptor::resume() {
  resume_timer_ = {};
  if (held_) return;
  if (!std::exchange(epoll_refused_, false)) take_some();
  if (!socket_ || resume_timer_ || held_) return;
  channel_.set_reading(true);  // registering anew reports what is queued, edge-triggered too
}

void Acceptor::on_interest_refused(Errno error) {
  WEIR_LOG_LIMITED(error, 1, "watch {}: epoll_ctl: {}", socket_->address().to_string(),
                   error.message());
  epoll_refused_ = true;
  back_off(error);
}

}  // namespace weir::internal
