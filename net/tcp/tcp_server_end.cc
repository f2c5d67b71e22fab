// The end of a server: shutdown(), and destruction at any time.
#include <algorithm>
#include <utility>
#include <vector>

#include "weir/net/reactor/internal/run_on.h"
#include "weir/net/sys/sys.h"
#include "weir/net/tcp/tcp_server_impl.h"

namespace weir {

using internal::Acceptor;
using internal::Listener;
using internal::TcpShard;
using internal::try_run_on;
using Call = internal::ShardsBase::Call;

// --- shutdown ------------------------------------------------------------------------------------

void TcpServer::Impl::shutdown(const Ending& how, std::move_only_function<void()> done) {
  shards_.add_done(std::move(done));
  if (phase_ == Phase::stopped) {
    shards_.post_home([this] { shards_.call_done(); });
    return;
  }
  const TimePoint when = saturating_add(internal::sys::now(), how.deadline);
  if (when < deadline_) {
    deadline_ = when;
    loop_.cancel(deadline_timer_);
    deadline_timer_ = loop_.run_at(when, [this] { at_deadline(); });
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

// Connections are served normally until the last handshakes have ended. The queued connections are
// always accepted from a timer: a handler may have called shutdown(), and on_open must not be
// called inside it.
void TcpServer::Impl::begin_shutdown() {
  phase_ = Phase::last_handshakes;
  if (leave_listeners_) {  // no handshakes of ours to wait for
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

// First every acceptor, on every loop, hands over its queued connections. Only then begin_grace()
// posts to the groups, so that connections which one loop has handed to another arrive before.
void TcpServer::Impl::stop_accepting() {
  loop_.cancel(step_timer_);
  phase_ = Phase::last_accepts;
  const auto release_socket = [leave = leave_listeners_](Acceptor& acceptor) {
    leave ? acceptor.leave() : acceptor.stop();
  };
  std::vector<Listener> elsewhere;
  for (const Listener& listener : listeners_) {
    if (!listener.loop.in_loop_thread()) {
      elsewhere.push_back(listener);
      continue;
    }
    const auto acceptor = listener.acceptor;
    release_socket(*acceptor);
    if (shards_.destroyed()) return;  // by on_open of a queued connection
  }
  if (elsewhere.empty()) return begin_grace();
  shards_.on_each(
      [release_socket, elsewhere = std::move(elsewhere)](TcpShard& shard, Call over) {
        for (const Listener& listener : elsewhere) {
          if (&listener.loop == &shard.loop) release_socket(*listener.acceptor);
        }
        over();
      },
      [this] { begin_grace(); });
}

// The task is posted to all groups, including that of this loop: so it runs after connections that
// were handed over have arrived.
void TcpServer::Impl::begin_grace() {
  if (phase_ != Phase::last_accepts) return;  // a step that was repeated at the deadline
  phase_ = Phase::grace;
  wait_for_groups();
  if (close_at_ <= loop_.now()) {
    close_connections();
  } else {
    loop_.cancel(step_timer_);  // a shutdown() in on_open has set it
    step_timer_ = loop_.run_at(close_at_, [this] { close_connections(); });
  }
  if (deadline_ <= loop_.now()) abort_connections();  // those handed over since then
}

void TcpServer::Impl::close_connections() {
  loop_.cancel(step_timer_);
  phase_ = Phase::stopping;
  shards_.post_each([](TcpShard& shard) { shard.group->stop_gracefully(); });
}

void TcpServer::Impl::stopped() {
  phase_ = Phase::stopped;
  cancel_timers();
  shards_.call_done();
}

void TcpServer::Impl::wait_for_groups() {
  shards_.on_each([](TcpShard& shard, Call over) { shard.group->when_empty(std::move(over)); },
                  [this] { stopped(); });
  groups_asked_ = true;
}

// Repeats until the server has stopped: any step may fail for want of memory.
void TcpServer::Impl::at_deadline() {
  deadline_timer_ = loop_.run_after(kDeadlineRetry, [this] { at_deadline(); });
  abort_connections();
}

void TcpServer::Impl::abort_connections() {
  if (phase_ == Phase::last_handshakes || phase_ == Phase::last_accepts) stop_accepting();
  if (shards_.destroyed()) return;
  if (phase_ > Phase::last_accepts && !groups_asked_) wait_for_groups();
  shards_.post_each([](TcpShard& shard) { shard.group->abort_all(); });
}

// --- destruction ---------------------------------------------------------------------------------

void TcpServer::Impl::cancel_timers() {
  loop_.cancel(deadline_timer_);
  loop_.cancel(step_timer_);
}

// An acceptor or a group may be in the middle of a call, so it is kept until the end of the turn.
void TcpServer::Impl::release() {
  for (Listener& listener : listeners_) {
    try_run_on(listener.loop, [&] {
      listener.acceptor->close();
      internal::core_of(listener.loop).keep_until_reaped(std::move(listener.acceptor));
    });
  }
}

void internal::TcpShard::release() {
  group->orphan_all();
  internal::core_of(loop).keep_until_reaped(std::move(group));
}

}  // namespace weir
