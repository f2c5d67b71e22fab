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
  replace_handler(handler);
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
    extras_->replaced.push_back(std::move(extras_->handler));
    settle_later();
  }
  handler_ = &handler;
  if (input_) input_->set_progress(0);
}

// Destroys the program's objects after on_close. Each may use those that are destroyed after it.
void Connection::destroy_owned() {
  if (extras_) {
    extras_->sent_waiters.clear();
    extras_->replaced.clear();
    extras_->handler.reset();
    extras_->protocol.reset();
  }
  handler_ = nullptr;
  context_.reset();
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

void Connection::when_sent(std::move_only_function<void(bool)> notify) {
  core().check_thread("TcpConnection::when_sent");
  WEIR_CHECK(notify != nullptr, "TcpConnection::when_sent: the function is null");
  // bytes_out_ includes the bytes that a transport holds. Lost output is never sent.
  const std::uint64_t held = transport() != nullptr ? transport()->held() : 0;
  const std::uint64_t position = output_lost_ ? std::numeric_limits<std::uint64_t>::max()
                                              : bytes_out_ + pending_output() - held;
  extras().sent_waiters.push_back({position, std::move(notify)});
  account();
  settle_later();
}

// Calls the waiters whose bytes were sent, and all of them if the connection is closed. Waiters
// that are added meanwhile wait for the next call.
void Connection::notify_sent() {
  if (!extras_ || extras_->sent_waiters.empty()) return;
  auto& waiters = extras_->sent_waiters;
  const Transport* const through = transport();
  const std::uint64_t sent =
      through != nullptr && through->held() > 0 ? extras_->fully_sent : bytes_out_;
  const bool closed = state_ == State::closed;
  const auto is_due = [&](const SentWaiter& waiter) { return closed || waiter.position <= sent; };
  const auto end = std::find_if_not(waiters.begin(), waiters.end(), is_due);
  std::vector<SentWaiter> due(std::move_iterator(waiters.begin()), std::move_iterator(end));
  waiters.erase(waiters.begin(), end);
  CallAll all;
  for (SentWaiter& waiter : due) {
    all([&] { call_handler("when_sent", [&] { waiter.notify(waiter.position <= sent); }); });
  }
  all.rethrow_first();
}

}  // namespace weir::internal
