// How a server ends: shutdown(), and destruction at any moment.
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
  std::vector<Listener> elsewhere;
  for (const Listener& listener : listeners_) {
    if (!listener.loop.in_loop_thread()) {
      elsewhere.push_back(listener);
      continue;
    }
    const auto acceptor = listener.acceptor;
    let_go(*acceptor);
    if (shards_.destroyed()) return;  // in on_open of a connection that was queued
  }
  if (elsewhere.empty()) return begin_grace();
  shards_.on_each(
      [let_go, elsewhere = std::move(elsewhere)](TcpShard& shard, Call over) {
        for (const Listener& listener : elsewhere) {
          if (&listener.loop == &shard.loop) let_go(*listener.acceptor);
        }
        over();
      },
      [this] { begin_grace(); });
}

// What the groups are told is posted to all of them, this loop's too: it comes behind what was
// handed over.
void TcpServer::Impl::begin_grace() {
  phase_ = Phase::grace;
  shards_.on_each([](TcpShard& shard, Call over) { shard.group->when_empty(std::move(over)); },
                  [this] { stopped(); });
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
  shards_.post_each([](TcpShard& shard) { shard.group->stop_gracefully(); });
}

void TcpServer::Impl::stopped() {
  phase_ = Phase::stopped;
  cancel_timers();
  shards_.call_done();
}

void TcpServer::Impl::abort_connections() {
  if (phase_ == Phase::last_handshakes) stop_accepting();
  if (shards_.destroyed()) return;
  shards_.post_each([](TcpShard& shard) { shard.group->abort_all(); });
}

// --- destruction ---------------------------------------------------------------------------------

void TcpServer::Impl::cancel_timers() {
  loop_.cancel(deadline_timer_);
  loop_.cancel(step_timer_);
}

// What may be in the middle of a call on a loop is kept until the end of its turn.
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
