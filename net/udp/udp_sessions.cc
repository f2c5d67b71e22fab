#include "weir/net/udp/udp_sessions.h"

#include <algorithm>
#include <exception>
#include <new>

#include "weir/base/check.h"
#include "weir/base/log_line.h"
#include "weir/net/reactor/internal/loop_core.h"

namespace weir {

using internal::Tick;
using internal::tick_reached;

// --- one session ---------------------------------------------------------------------------------

UdpSession::UdpSession(UdpSessions& owner, UdpSocket& socket, const Datagram& first)
    : owner_(&owner),
      socket_(&socket),
      peer_(first.peer.copy()),
      local_(internal::local_ip_of(first)),
      sent_to_(first) {}

void UdpSession::close() {
  if (!closed_ && owner_ != nullptr) owner_->end(*this, false);
}

void UdpSession::on_deadline() { owner_->check_idle(*this); }

void UdpSession::on_reap() {
  if (owner_ != nullptr) owner_->reap(*this);
  delete this;
}

// --- the sessions of a loop ----------------------------------------------------------------------

UdpSessions::UdpSessions(EventLoop& loop, std::shared_ptr<UdpSessionHandler> handler,
                         Options options)
    : core_(internal::core_of(loop)),
      handler_(std::move(handler)),
      options_(options),
      idle_(internal::ticks_of(options.idle_timeout)) {
  core_.check_thread("UdpSessions::UdpSessions");
  WEIR_CHECK(handler_ != nullptr, "UdpSessions without a handler");
}

UdpSessions::~UdpSessions() {
  core_.check_thread("UdpSessions::~UdpSessions");
  for (const auto& [key, session] : sessions_) drop(*session);
  for (UdpSession* session : ending_) session->owner_ = nullptr;
}

// Ends a session without on_close.
void UdpSessions::drop(UdpSession& session) {
  core_.clear_deadline(session);
  session.closed_ = true;
  session.owner_ = nullptr;
  session.socket_ = nullptr;
  core_.reap_later(session);
}

void UdpSessions::forget(UdpSocket& socket) {
  if (current_ == &socket) current_ = nullptr;
  std::erase_if(sessions_, [&](const auto& entry) {
    if (entry.first.socket != &socket) return false;
    drop(*entry.second);
    return true;
  });
  for (std::size_t i = 0; i < ending_.size();) {
    UdpSession& session = *ending_[i];
    if (session.socket_ != &socket) {
      ++i;
      continue;
    }
    session.socket_ = nullptr;
    if (&session == closing_) {  // its on_close has closed the socket
      ++i;
    } else {
      session.owner_ = nullptr;
      leave_ending(session);
    }
  }
}

void UdpSessions::end(UdpSession& session, bool timed_out) {
  core_.check_thread("UdpSession::close");
  core_.clear_deadline(session);
  session.closed_ = true;
  session.timed_out_ = timed_out;
  sessions_.erase(Key{session.socket_, session.peer_, session.local_});
  session.ending_at_ = ending_.size();
  ending_.push_back(&session);
  core_.reap_later(session);
}

// The deadline has passed, but datagrams of the peer may have been received since it was set, or
// may still wait in the kernel.
void UdpSessions::check_idle(UdpSession& session) {
  if (session.socket_->receiving_paused()) session.last_ = core_.tick();
  const Tick due = core_.latest(session.last_) + idle_;
  if (!tick_reached(due, core_.deadline_tick())) {
    core_.set_deadline(session, due);
  } else if (session.socket_->behind()) {
    core_.set_deadline(session, core_.tick() + 1);
  } else {
    end(session, true);
  }
}

void UdpSessions::reap(UdpSession& session) {
  closing_ = &session;
  guarded("on_close", [&] { handler_->on_close(session, session.timed_out_); });
  closing_ = nullptr;
  leave_ending(session);  // only now: on_close may have closed the socket
}

void UdpSessions::leave_ending(UdpSession& session) {
  ending_.back()->ending_at_ = session.ending_at_;
  ending_[session.ending_at_] = ending_.back();
  ending_.pop_back();
}

template <typename Call>
void UdpSessions::guarded(const char* event, Call&& call) {
  try {
    call();
  } catch (const std::exception& thrown) {
    WEIR_LOG_LIMITED(error, 1, "{} of a UDP session threw: {}", event,
                     escaped(thrown.what(), kMaxLoggedText));
  } catch (...) {
    WEIR_LOG_LIMITED(error, 1, "{} of a UDP session threw something that is no std::exception",
                     event);
  }
}

UdpSession* UdpSessions::find_or_open(UdpSocket& socket, const Datagram& first) {
  const Key key{&socket, first.peer.copy(), internal::local_ip_of(first)};
  if (const auto found = sessions_.find(key); found != sessions_.end()) return found->second;
  if (sessions_.size() >= options_.max_sessions) {
    ++refused_;
    WEIR_LOG_LIMITED(warn, 1, "{} sessions are open, the most allowed: refusing more",
                     options_.max_sessions);
    return nullptr;
  }
  UdpSession* session = nullptr;
  try {
    const std::size_t most = sessions_.size() + 1 + ending_.size();
    if (ending_.capacity() < most) ending_.reserve(2 * most);  // end() needs no memory
    session = new UdpSession(*this, socket, first);
    sessions_.emplace(key, session);
  } catch (const std::bad_alloc&) {  // discards this datagram, and not those behind it
    delete session;
    ++refused_;
    WEIR_LOG_LIMITED(error, 1, "no memory for a session: a datagram is discarded");
    return nullptr;
  }
  session->last_ = core_.tick();
  if (options_.idle_timeout > Duration::zero()) {
    core_.set_deadline(*session, session->last_ + idle_);
  }
  bool wanted = false;
  guarded("on_open", [&] { wanted = handler_->on_open(*session); });
  if (session->closed_) return nullptr;  // on_open has closed it or its socket
  if (wanted) return session;
  sessions_.erase(key);
  drop(*session);
  return nullptr;
}

void UdpSessions::on_datagrams(UdpSocket& socket, std::span<const Datagram> batch) {
  current_ = &socket;
  const Datagram* before = nullptr;  // the previous one of `session`
  UdpSession* session = nullptr;
  for (const Datagram& one : batch) {
    if (one.peer.empty()) {
      ++refused_;  // peers without an address cannot be distinguished
      continue;
    }
    if (session == nullptr || session->closed_ || !(before->peer == one.peer) ||
        internal::local_ip_of(one) != session->local_) {
      session = find_or_open(socket, one);
      if (current_ == nullptr) return;  // the socket was closed
      if (session == nullptr) continue;
    }
    before = &one;
    session->last_ = core_.tick();
    ++session->received_;
    guarded("on_datagram", [&] { handler_->on_datagram(*session, one); });
    if (current_ == nullptr) return;
  }
  current_ = nullptr;
}

}  // namespace weir
