// Connection: functions that few connections use: an own handler, a protocol, deadlines that differ
// from those of the group, notifications of sent output.
#include "weir/net/stream/internal/connection_extras.h"

#include <algorithm>
#include <iterator>
#include <limits>
#include <utility>

#include "weir/base/call_all.h"
#include "weir/base/check_format.h"
#include "weir/base/log_line.h"
#include "weir/net/stream/internal/connection_inline.h"
#include "weir/net/stream/internal/connection_limits.h"

namespace weir::internal {

ConnectionExtras& Connection::extras() {
  if (!extras_) {
    extras_ = std::make_unique<ConnectionExtras>();
    extras_->idle = group_->limits.idle;
    extras_->message = group_->limits.message;
  }
  return *extras_;
}

// --- the handler ---------------------------------------------------------------------------------

void Connection::set_handler(ConnectionHandler& handler) {
  core().check_thread("TcpConnection::set_handler");
  if (&handler != handler_) replace_handler(handler);
}

void Connection::set_handler(std::unique_ptr<ConnectionHandler> handler) {
  core().check_thread("TcpConnection::set_handler");
  WEIR_CHECK(handler != nullptr, "TcpConnection::set_handler: the handler is null");
  ConnectionExtras& own = extras();
  replace_handler(*handler);
  own.handler = std::move(handler);
}

// The old handler may be running, or may have called the one that is running. So if the connection
// owns it, it lives until the flush phase.
void Connection::replace_handler(ConnectionHandler& handler) {
  WEIR_CHECK(pump() == nullptr, "TcpConnection::set_handler on a connection that is relayed");
  if (auto fits = check_longest_message(handler, group_->limits); !fits) {
    WEIR_LOG_LIMITED(warn, 1, "set_handler on connection {}: {}", id(), fits.error());
  }
  if (extras_ && extras_->handler) {
    const auto& waiters = extras_->sent_waiters;
    const std::uint64_t last_wait = waiters.empty() ? 0 : waiters.back().position;
    extras_->replaced.push_back({nullptr, last_wait});
    extras_->replaced.back().handler = std::move(extras_->handler);
    settle_later();
  }
  if (handler_ == nullptr) return;  // the server was destroyed: no handler is called any more
  handler_ = &handler;
  if (!input_) return;
  input_->set_progress(0);
  redeliver_input();
}

// In the flush phase, where no handler is running. A handler lives on while notifications wait that
// it may have requested.
void Connection::destroy_replaced() {
  auto& replaced = extras_->replaced;
  const auto& waiters = extras_->sent_waiters;
  const auto is_free = [&](const ReplacedHandler& old) {
    return waiters.empty() || waiters.front().position > old.last_wait;
  };
  while (!replaced.empty() && is_free(replaced.front())) {
    const auto destroyed = std::move(replaced.front().handler);  // may call set_handler()
    replaced.erase(replaced.begin());
  }
}

// Destroys the program's objects after on_close. Each may use those that are destroyed after it.
void Connection::destroy_owned() {
  handler_ = nullptr;
  if (extras_) {
    std::exchange(extras_->sent_waiters, {}).clear();
    while (extras_->handler || !extras_->replaced.empty()) {  // a destructor may set a handler
      std::exchange(extras_->replaced, {}).clear();
      std::exchange(extras_->handler, nullptr).reset();
    }
    extras_->protocol.reset();
  }
  context_.reset();
}

TypedContext& Connection::make_protocol_slot() {
  core().check_thread("TcpConnection::set_protocol");
  return extras().protocol;
}

// --- deadlines -----------------------------------------------------------------------------------

void Connection::set_idle_timeout(Duration timeout) {
  core().check_thread("TcpConnection::set_idle_timeout");
  extras().idle = deadline_ticks(timeout);
  arm_deadline();
}

// While there was no deadline, the beginning of a message was not stored.
void Connection::set_message_timeout(Duration timeout) {
  core().check_thread("TcpConnection::set_message_timeout");
  ConnectionExtras& own = extras();
  if (own.message == 0) message_since_ = clock_now();
  own.message = deadline_ticks(timeout);
  arm_deadline();
}

// --- when_sent -----------------------------------------------------------------------------------

void Connection::when_sent(std::move_only_function<void(TcpConnection&, bool)> notify) {
  core().check_thread("TcpConnection::when_sent");
  WEIR_CHECK(notify != nullptr, "TcpConnection::when_sent: the function is null");
  if (handler_ == nullptr) return;  // the server was destroyed, or on_close was called
  // bytes_out_ includes the bytes that a transport holds. Lost output is never sent.
  const std::uint64_t held = transport() != nullptr ? transport()->held() : 0;
  const std::uint64_t position = output_lost_ ? std::numeric_limits<std::uint64_t>::max()
                                              : bytes_out_ + pending_output() - held;
  extras().sent_waiters.push_back({position, std::move(notify)});
  account();
  settle_later();
}

// Calls the waiters whose bytes were sent, and all of them if the connection is closed: that needs
// no memory. Waiters that are added meanwhile wait for the next call.
void Connection::notify_sent() {
  if (extras_->sent_waiters.empty()) return;
  auto& waiters = extras_->sent_waiters;
  const Transport* const through = transport();
  const std::uint64_t sent =
      through != nullptr && through->held() > 0 ? extras_->fully_sent : bytes_out_;
  std::vector<SentWaiter> due;
  if (state_ == State::closed) {
    due.swap(waiters);
  } else {
    const auto is_due = [&](const SentWaiter& waiter) { return waiter.position <= sent; };
    const auto end = std::find_if_not(waiters.begin(), waiters.end(), is_due);
    due.assign(std::move_iterator(waiters.begin()), std::move_iterator(end));
    waiters.erase(waiters.begin(), end);
  }
  CallAll all;
  for (SentWaiter& waiter : due) {
    all([&] { call_handler("when_sent", [&] { waiter.notify(*this, waiter.position <= sent); }); });
  }
  if (!extras_->replaced.empty()) settle_later();
  all.rethrow_first();
}

}  // namespace weir::internal
