// How a server ends: shutdown(), and destruction at any moment.
#include <algorithm>
#include <utility>

#include "weir/net/reactor/run_on.h"
#include "weir/net/sys/sys.h"
#include "weir/net/tcp/tcp_server_impl.h"

namespace weir {

using internal::Acceptor;
using internal::Listener;
using internal::try_run_on;

namespace {

// A shutdown lets handshakes that have begun come to an end for so long: the round trip of a
// region. Without it, those whose last step is under way when the listener closes would be reset.
constexpr Duration kLastHandshakes = std::chrono::milliseconds(50);

}  // namespace

// --- one address ---------------------------------------------------------------------------------

struct TcpServer::Impl::ClosingListener {
  std::vector<std::shared_ptr<Acceptor>> acceptors;
  std::size_t open = 0;  // of those
  std::move_only_function<void()> done;
};

Result<void> TcpServer::Impl::close_listener(const SocketAddress& address,
                                             std::move_only_function<void()> done) {
  loop_.check_thread("TcpServer::close_listener");
  auto closing = std::make_shared<ClosingListener>();
  closing->done = std::move(done);
  bool handshakes = false;
  for (Listener& listener : listeners_) {
    if (listener.closing || listener.address != address) continue;
    listener.closing = true;
    handshakes = handshakes || listener.handshakes;
    closing->acceptors.push_back(listener.acceptor);
    listener.loop.dispatch([acceptor = listener.acceptor] { acceptor->refuse_new(); });
  }
  if (closing->acceptors.empty()) {
    return std::unexpected(
        Error("stop listening on " + address.to_string() + ": the server does not listen there"));
  }
  loop_.run_after(handshakes ? kLastHandshakes : Duration::zero(),
                  [self = weak_from_this(), closing = std::move(closing)]() mutable {
                    if (auto server = self.lock()) server->stop_listener(std::move(closing));
                  });
  return {};
}

void TcpServer::Impl::stop_listener(std::shared_ptr<ClosingListener> closing) {
  closing->open = closing->acceptors.size();
  for (const Listener& listener : listeners_) {
    if (std::ranges::find(closing->acceptors, listener.acceptor) == closing->acceptors.end()) {
      continue;
    }
    listener.loop.post(
        [acceptor = listener.acceptor, closing, &home = loop_, self = weak_from_this()]() mutable {
          acceptor->stop();
          acceptor.reset();
          home.post([closing = std::move(closing), self = std::move(self)] {
            if (auto server = self.lock()) server->listener_stopped(closing);
          });
        });
  }
}

void TcpServer::Impl::listener_stopped(const std::shared_ptr<ClosingListener>& closing) {
  if (--closing->open > 0 || phase_ == Phase::destroyed) return;
  {
    const std::lock_guard lock(listeners_mutex_);
    std::vector<Listener> others;
    for (Listener& listener : listeners_) {
      const auto& ended = closing->acceptors;
      if (std::ranges::find(ended, listener.acceptor) == ended.end()) {
        others.push_back(std::move(listener));
      } else {
        listener.add_counters(closed_listeners_);
      }
    }
    listeners_.swap(others);
  }
  if (closing->done) closing->done();
}

// --- the whole server ----------------------------------------------------------------------------

void TcpServer::Impl::shutdown(const Ending& how, std::move_only_function<void()> done) {
  if (phase_ == Phase::destroyed) return;
  if (done) done_.push_back(std::move(done));
  if (phase_ == Phase::stopped) {
    post_home(&Impl::tell_done);
    return;
  }
  const TimePoint when = saturating_add(internal::sys::now(), how.deadline);
  if (when < deadline_) {
    deadline_ = when;
    loop_.cancel(deadline_timer_);
    deadline_timer_ = loop_.run_at(when, [this] { abort_connections(); });
  }
  close_at_ = std::min({close_at_, deadline_, saturating_add(internal::sys::now(), how.grace)});
  if (phase_ == Phase::serving) {
    leave_listeners_ = how.leave_listeners;
    begin_shutdown();
  } else if (phase_ == Phase::grace) {
    loop_.cancel(step_timer_);
    step_timer_ = loop_.run_at(close_at_, [this] { close_connections(); });
  }
}

void TcpServer::Impl::post_home(void (Impl::*step)()) {
  loop_.post([self = weak_from_this(), step] {
    if (auto server = self.lock()) (*server.*step)();
  });
}

// Everybody is served as before until the last handshakes are over. What is queued then is accepted
// from a timer in any case: shutdown() may have been called by a handler, and on_open must not come
// inside it.
void TcpServer::Impl::begin_shutdown() {
  phase_ = Phase::last_handshakes;
  if (leave_listeners_) {  // accepts nobody
    stop_accepting();
    return;
  }
  const bool wait = std::ranges::any_of(listeners_, &Listener::handshakes) &&
                    deadline_ - loop_.now() > kLastHandshakes;
  if (wait) {
    for (const Listener& listener : listeners_) {
      listener.loop.dispatch([acceptor = listener.acceptor] { acceptor->refuse_new(); });
    }
  }
  step_timer_ =
      loop_.run_after(wait ? kLastHandshakes : Duration::zero(), [this] { stop_accepting(); });
}

// First every acceptor, on every loop, hands over what is queued; when all have done so, the groups
// are told to close what they have: so what one loop has sent to another arrives before.
void TcpServer::Impl::stop_accepting() {
  loop_.cancel(step_timer_);
  phase_ = Phase::last_accepts;
  const auto let_go = [leave = leave_listeners_](Acceptor& acceptor) {
    leave ? acceptor.leave() : acceptor.stop();
  };
  for (const Listener& listener : listeners_) {
    if (!listener.loop.in_loop_thread()) continue;
    const auto acceptor = listener.acceptor;
    let_go(*acceptor);
    if (phase_ == Phase::destroyed) return;  // in on_open of a connection that was queued
  }
  for (const auto& shard : shards_) {
    std::vector<std::shared_ptr<Acceptor>> acceptors;
    for (const Listener& listener : listeners_) {
      const bool done_above = listener.loop.in_loop_thread();
      if (&listener.loop == &shard->loop && !done_above) acceptors.push_back(listener.acceptor);
    }
    if (acceptors.empty()) continue;
    ++loops_accepting_;
    shard->loop.post([acceptors = std::move(acceptors), &home = loop_, let_go,
                      self = weak_from_this()]() mutable {
      for (const auto& acceptor : acceptors) let_go(*acceptor);
      home.post([self = std::move(self)] {
        if (auto server = self.lock()) server->acceptors_stopped();
      });
    });
  }
  if (loops_accepting_ == 0) begin_grace();
}

void TcpServer::Impl::acceptors_stopped() {
  if (--loops_accepting_ == 0 && phase_ == Phase::last_accepts) begin_grace();
}

// What the groups are told is posted to all of them, this loop's too: it comes behind what was
// handed over.
void TcpServer::Impl::begin_grace() {
  phase_ = Phase::grace;
  shards_running_ = shards_.size();
  if (shards_.empty()) post_home(&Impl::shard_stopped);
  for (const auto& shard : shards_) {
    shard->loop.post([group = shard->group, &home = loop_, self = weak_from_this()]() mutable {
      group->when_empty([&home, self = std::move(self)]() mutable {
        home.post([self = std::move(self)] {
          if (auto server = self.lock()) server->shard_stopped();
        });
      });
    });
  }
  if (close_at_ <= loop_.now()) {
    close_connections();
  } else {
    loop_.cancel(step_timer_);  // set by a shutdown() in on_open
    step_timer_ = loop_.run_at(close_at_, [this] { close_connections(); });
  }
  if (deadline_ <= loop_.now()) abort_connections();  // those that were handed over after it
}

void TcpServer::Impl::close_connections() {
  loop_.cancel(step_timer_);
  phase_ = Phase::stopping;
  for (const auto& shard : shards_) {
    shard->loop.post([group = shard->group] { group->stop_gracefully(); });
  }
}

void TcpServer::Impl::shard_stopped() {
  if (phase_ != Phase::grace && phase_ != Phase::stopping) return;  // destroyed in this turn
  if (shards_running_ > 0 && --shards_running_ > 0) return;
  phase_ = Phase::stopped;
  loop_.cancel(deadline_timer_);
  loop_.cancel(step_timer_);
  tell_done();
}

// One a task: it may throw, which is not to cost the next one, or destroy the server.
void TcpServer::Impl::tell_done() {
  if (done_.empty()) return;
  auto done = std::move(done_.front());
  done_.erase(done_.begin());
  if (!done_.empty()) post_home(&Impl::tell_done);
  done();
}

void TcpServer::Impl::abort_connections() {
  if (phase_ == Phase::last_handshakes) stop_accepting();
  if (phase_ == Phase::destroyed) return;
  for (const auto& shard : shards_) {
    shard->loop.post([group = shard->group] { group->abort_all(); });
  }
}

// What may be in the middle of a call on this loop is kept until the end of the turn.
void TcpServer::Impl::destroy() {
  loop_.check_thread("TcpServer::~TcpServer");
  phase_ = Phase::destroyed;
  done_.clear();
  loop_.cancel(deadline_timer_);
  loop_.cancel(step_timer_);
  if (pool_ != nullptr && loop_.forked()) {
    // The loops' threads did not come along into this child: what is on them stays as it is.
    static_cast<void>(new std::shared_ptr<Impl>(shared_from_this()));
    return;  // NOLINT(clang-analyzer-cplusplus.NewDeleteLeaks): kept for ever, as said
  }
  for (Listener& listener : listeners_) {
    try_run_on(listener.loop, [&] {
      listener.acceptor->close();
      listener.loop.keep_until_reaped(std::move(listener.acceptor));
    });
  }
  for (const auto& shard : shards_) {
    try_run_on(shard->loop, [&] {
      if (!shard->group) return;
      shard->group->orphan_all();
      shard->loop.keep_until_reaped(std::move(shard->group));
    });
  }
  own_pool_.reset();
}

}  // namespace weir
