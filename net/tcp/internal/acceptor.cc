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

// No descriptor is left to this process, or to the whole system.
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
  // Of a listener these two fields mean something else than their names say, tcp_diag.c.
  return Queue{
      .address = socket_->address(), .waiting = info->tcpi_unacked, .limit = info->tcpi_sacked};
}

// Also from inside the sink while it leaves: the channel is removed before the socket goes.
void Acceptor::hold() {
  held_ = true;
  if (!channel_.removed()) channel_.set_reading(false);
}

// What epoll has reported while it was held is asked for: edge-triggered it would not come again.
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
  // For a connection that is queued the kernel may have woken this loop and no other: then nobody
  // else comes for it before the next one does.
  if (options_.exclusive) take_queued();
  close();
}

void Acceptor::take_queued() {
  const int bound = max_backlog() + 1;  // so many can be queued
  for (int i = 0; i < bound && socket_; ++i) {
    const Outcome outcome = accept_one();
    if (outcome != Outcome::taken && outcome != Outcome::failed_one) break;
  }
}

void Acceptor::on_ready(std::uint32_t) {
  if (resume_timer_ || held_) return;  // since an earlier event of this turn
  take_some();
}

void Acceptor::take_some() {
  const std::uint64_t turn = channel_.loop().stats().turns;
  if (turn == spent_in_turn_ + 1) budget_ = std::min(budget_ * 2, kMaxAcceptsPerTurn);
  const int budget = options_.trigger == Trigger::edge ? kMaxAcceptsPerTurn : budget_;
  int taken = 0;
  for (int i = 0; i < budget; ++i) {
    if (options_.rate && !rate_allows()) return;
    const Outcome outcome = accept_one();
    if (!socket_) return;  // closed from inside the sink
    if (options_.rate && outcome != Outcome::taken) options_.rate->give_back();
    switch (outcome) {
      case Outcome::taken:
        ++taken;
        if (held_) return;  // from inside the sink
        break;
      case Outcome::failed_one:
        break;
      case Outcome::empty:
        budget_ = std::max(1, taken);
        return;
      case Outcome::out_of_descriptors:
        // Some of those just taken may be dead, having waited in the queue for long.
        if (taken > 0) {
          pause(kBreath);
          return;
        }
        // Those who wait learn at once that they will not be served, instead of hanging.
        counters_.shed.add(
            static_cast<std::uint64_t>(spare_->shed(socket_->fd(), kMaxAcceptsPerTurn)));
        [[fallthrough]];
      case Outcome::out_of_memory:
        back_off(last_error_);
        return;
      case Outcome::dead:
        if (socket_->end_is_news()) {
          WEIR_LOG(error, "stop listening on {}: accept: {}", socket_->address().to_string(),
                   last_error_.message());
        }
        close();
        return;
    }
  }
  spent_in_turn_ = turn;
  if (options_.trigger == Trigger::edge) core_of(channel_).requeue(channel_, EPOLLIN);
}

// Those who come too fast wait in the backlog, which the kernel bounds.
bool Acceptor::rate_allows() {
  const Duration wait = options_.rate->take(channel_.loop().now());
  if (wait == Duration::zero()) return true;
  ++counters_.rate_pauses;
  pause(std::max(wait, kRatePause));
  return false;
}

// accept(2) also reports network errors that are pending on the connection it took off the queue:
// those cost that connection only.
Acceptor::Outcome Acceptor::accept_one() {
  auto fd = sys::accept(socket_->fd());
  if (fd) {
    const auto spare = spare_->restore();
    if (spare || !exhausted(spare.error())) {
      ++counters_.accepted;
      sink_(std::move(*fd));
      return Outcome::taken;
    }
    // It took the place of the spare while another loop was using that.
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
    default:  // EINVAL: not listening any more (shutdown(2) of the listener); EBADF, ENOTSOCK: not
              // ours
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

// Tries before it asks to be woken, so that a back-off after the other costs one wake-up each. (But
// with an epoll that is out of memory a new connection would be lost.)
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
