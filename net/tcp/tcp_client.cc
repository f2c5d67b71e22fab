#include "weir/net/tcp/tcp_client.h"

#include <algorithm>
#include <cerrno>
#include <cstdint>
#include <new>
#include <random>
#include <utility>

#include "weir/base/back_off.h"
#include "weir/base/check.h"
#include "weir/base/log_line.h"
#include "weir/net/reactor/internal/loop_core.h"
#include "weir/net/socket/socket.h"
#include "weir/net/socket/socket_file.h"
#include "weir/net/socket/stream_options.h"
#include "weir/net/stream/callback_handler.h"
#include "weir/net/stream/internal/connection_group.h"
#include "weir/net/stream/internal/connection_limits.h"
#include "weir/net/stream/internal/per_connection_handler.h"
#include "weir/net/sys/process.h"
#include "weir/net/tcp/internal/connector.h"

namespace weir {

using internal::ConnectionGroup;

namespace {

// The random numbers of the clients of a loop: loop.local<Jitter>(). Their seed is random, so that
// clients do not all reconnect at the same time. One object for a thread would remember its seed
// longer than a simulated world lives, so that a second run of this world would differ.
class Jitter {
 public:
  // In [0, 1).
  double next() { return std::uniform_real_distribution<>(0, 1)(engine_); }

 private:
  std::minstd_rand engine_{static_cast<std::uint32_t>(internal::sys::random_bits())};
};

}  // namespace

// Outlives the TcpClient until the end of the turn, because one of its handlers may be running.
class TcpClient::Impl final : public internal::ConnectionObserver, public internal::Kept {
 public:
  Impl(EventLoop& loop, Options options)
      : loop_(loop),
        options_(options),
        connector_(loop, {.timeout = options_.connect_timeout,
                          .bind_to = options_.bind_to,
                          .stream = internal::stream_options_of(options_)}),
        jitter_(loop.local<Jitter>()),
        back_off_(options_.reconnect.initial, options_.reconnect.max, options_.reconnect.jitter) {}

  Result<void> connect(std::vector<SocketAddress> addresses);
  bool reconnect();
  void close();
  void destroy();
  State state() const;
  Stats stats() const;

  internal::CallbackHandler& callbacks() {
    internal::core_of(loop_).check_thread("TcpClient::on_...");
    WEIR_CHECK(group_ == nullptr, "TcpClient: handlers must be set before the first connect()");
    return *callbacks_;
  }

  EventLoop& loop_;
  std::shared_ptr<ConnectionHandler> handler_;
  std::move_only_function<void(const Error&, int)> connect_error_;
  ConnectionRef current_;  // the connection, while state_ is `connected`

 private:
  void on_adopted(TcpConnection& connection) override;
  void on_opened(TcpConnection&) override { failed_in_a_row_ = 0; }
  void on_ended(TcpConnection& connection, CloseReason reason) override;
  void attempt();
  void attempt_ended(Result<Fd> result);
  void attempt_failed(const Error& error);
  Error out_of_memory() const;
  Error handshake_failed(const internal::Connection& connection, CloseReason reason) const;
  bool wait_for_next();

  const Options options_;
  const std::shared_ptr<internal::CallbackHandler> callbacks_ =
      std::make_shared<internal::CallbackHandler>();
  std::shared_ptr<ConnectionGroup> group_;  // from the first connect() on
  internal::Connector connector_;
  Jitter& jitter_;
  internal::BackOff back_off_;
  internal::SocketFile file_;  // of the Unix path in bind_to, while connected
  std::vector<SocketAddress> addresses_;
  State state_ = State::idle;
  bool destroyed_ = false;
  bool adopted_ = false;              // the group has taken the socket of the current attempt
  bool reconnect_requested_ = false;  // reconnect() was called while connected
  int failed_in_a_row_ = 0;
  TimePoint opened_at_;
  TimerId wait_timer_;
  std::uint64_t attempts_ = 0;
  std::uint64_t failures_ = 0;
};

// --- connecting ----------------------------------------------------------------------------------

Result<void> TcpClient::Impl::connect(std::vector<SocketAddress> addresses) {
  internal::core_of(loop_).check_thread("TcpClient::connect");
  if (addresses.empty()) return std::unexpected(Error("connect: no address was given"));
  const std::string what = "connect to " + addresses.front().to_string();
  for (const SocketAddress& address : addresses) {
    if (address.family() == SocketAddress::Family::unspecified) {
      return std::unexpected(Error("connect to " + address.to_string(), Errno(EAFNOSUPPORT)));
    }
  }
  switch (state()) {
    case State::idle:
      break;
    case State::connected:
      return std::unexpected(Error(what, Errno(EISCONN)));
    case State::connecting:
    case State::waiting:
      return std::unexpected(Error(what, Errno(EALREADY)));
  }
  if (!group_) {
    if (!handler_) handler_ = callbacks_;
    const auto limits = internal::limits_of(options_);
    if (auto fits = internal::check_longest_message(*handler_, limits); !fits) {
      return std::unexpected(fits.error().within("TcpClient"));
    }
    group_ =
        std::make_shared<ConnectionGroup>(loop_, limits, handler_, nullptr, options_.transport);
    group_->set_observer(this);
  }
  addresses_ = std::move(addresses);
  current_ = {};
  failed_in_a_row_ = 0;
  back_off_.reset();
  attempt();
  return {};
}

void TcpClient::Impl::attempt() {
  reconnect_requested_ = false;
  file_.remove();
  ++attempts_;
  try {
    state_ = State::connecting;
    connector_.start(addresses_, [this](Result<Fd> result) { attempt_ended(std::move(result)); });
  } catch (...) {
    connector_.cancel();
    state_ = State::idle;
    throw;
  }
}

void TcpClient::Impl::attempt_ended(Result<Fd> result) {
  if (!result) {
    attempt_failed(result.error());
    return;
  }
  Socket socket(std::move(*result));
  file_ = connector_.take_file();
  if (socket.local_address().is_ip()) {
    internal::set_behaviour(socket, internal::stream_options_of(options_), "connect");
  }
  state_ = State::connected;
  adopted_ = false;
  group_->adopt(socket.take_fd());  // on_open may destroy the client
  if (!destroyed_ && !adopted_) {
    attempt_failed(out_of_memory());
  }
}

// Calls the handler last: it may call any function of the client or destroy it.
void TcpClient::Impl::attempt_failed(const Error& error) {
  ++failures_;
  file_.remove();
  const int attempt = ++failed_in_a_row_;
  state_ = State::idle;
  const Reconnect& reconnect = options_.reconnect;
  if (reconnect.enabled && (reconnect.attempts <= 0 || attempt < reconnect.attempts)) {
    wait_for_next();
  }
  if (connect_error_) {
    connect_error_(error, attempt);
  } else {
    WEIR_LOG_LIMITED(warn, 1, "{}", error);
  }
}

// Starts the timer of the next attempt. False: no memory for the timer; the client stays idle.
bool TcpClient::Impl::wait_for_next() {
  try {
    wait_timer_ = loop_.run_after(back_off_.next(jitter_.next()), [this] {
      wait_timer_ = {};
      try {
        attempt();
      } catch (const std::bad_alloc&) {
        attempt_failed(out_of_memory());
      }
    });
  } catch (const std::bad_alloc&) {
    WEIR_LOG_LIMITED(error, 1, "no memory for the timer of a reconnect: no attempt follows");
    return false;
  }
  state_ = State::waiting;
  return true;
}

Error TcpClient::Impl::out_of_memory() const {
  return Error("connect to " + addresses_.front().to_string(), Errno(ENOMEM));
}

// --- the connection ------------------------------------------------------------------------------

void TcpClient::Impl::on_adopted(TcpConnection& connection) {
  adopted_ = true;
  current_ = connection.ref();
  opened_at_ = loop_.now();
}

Error TcpClient::Impl::handshake_failed(const internal::Connection& connection,
                                        CloseReason reason) const {
  const std::string why = connection.failure();
  const std::string what = "connect to " + addresses_.front().to_string() + ": handshake";
  if (!why.empty()) return Error(what + ": " + why);
  if (reason.kind == CloseReason::Kind::peer_eof) return Error(what + ": the peer closed");
  return Error(what, reason.error);
}

// Ignores a connection that close() has released, or that connect() in its on_close has replaced.
void TcpClient::Impl::on_ended(TcpConnection& connection, CloseReason reason) {
  if (state_ != State::connected || connection.ref() != current_) return;
  current_ = {};
  state_ = State::idle;
  file_.remove();
  const internal::Connection& machine = internal::machine_of(connection);
  if (!machine.was_opened()) {
    attempt_failed(handshake_failed(machine, reason));
    return;
  }
  if (loop_.now() - opened_at_ > back_off_.current()) back_off_.reset();
  using Kind = CloseReason::Kind;
  const bool by_program = reason.kind == Kind::local_close || reason.kind == Kind::aborted;
  if (reconnect_requested_ || (options_.reconnect.enabled && !by_program)) {
    if (wait_for_next()) return;
    ++failures_;
    if (connect_error_) connect_error_(out_of_memory(), ++failed_in_a_row_);
  } else if (options_.reconnect.enabled) {
    WEIR_LOG_LIMITED(info, 1, "connection to {}: the program ended it, so no reconnect follows",
                     addresses_.front().to_string());
  }
}

// While connected, on_ended() continues: it runs after on_close, also if this is called from there.
bool TcpClient::Impl::reconnect() {
  internal::core_of(loop_).check_thread("TcpClient::reconnect");
  if (addresses_.empty()) return false;
  if (state_ == State::connected) {
    reconnect_requested_ = true;
    if (TcpConnection* connection = current_.get()) connection->close();
  } else if (state_ == State::idle) {
    return wait_for_next();
  }
  return true;
}

// --- ending --------------------------------------------------------------------------------------

void TcpClient::Impl::close() {
  internal::core_of(loop_).check_thread("TcpClient::close");
  connector_.cancel();
  loop_.cancel(std::exchange(wait_timer_, {}));
  state_ = State::idle;
  file_.remove();
  if (TcpConnection* connection = std::exchange(current_, {}).get()) connection->close();
}

void TcpClient::Impl::destroy() {
  internal::core_of(loop_).check_thread("TcpClient::~TcpClient");
  destroyed_ = true;
  connector_.cancel();
  file_.remove();
  loop_.cancel(std::exchange(wait_timer_, {}));
  if (!group_) return;
  group_->set_observer(nullptr);
  group_->orphan_all();
  internal::core_of(loop_).keep_until_reaped(group_);
}

TcpClient::State TcpClient::Impl::state() const {
  if (state_ != State::connected) return state_;
  const TcpConnection* connection = current_.get();
  if (connection == nullptr) return State::idle;
  return connection->state() == TcpConnection::State::opening ? State::connecting : state_;
}

TcpClient::Stats TcpClient::Impl::stats() const {
  Stats sum;
  sum.attempts = attempts_;
  sum.failures = failures_;
  if (!group_) return sum;
  sum.opened = group_->opened.value();
  sum.bytes_in = group_->bytes_in.value();
  sum.bytes_out = group_->bytes_out.value();
  for (std::size_t kind = 0; kind < sum.closed.size(); ++kind) {
    sum.closed[kind] = group_->closed[kind].value();
  }
  return sum;
}

// --- the public class ----------------------------------------------------------------------------

TcpClient::TcpClient(EventLoop& loop, Options options)
    : impl_(std::make_shared<Impl>(loop, options)) {
  internal::core_of(loop).check_thread("TcpClient::TcpClient");
}

TcpClient::~TcpClient() {
  impl_->destroy();
  EventLoop& loop = impl_->loop_;
  internal::core_of(loop).keep_until_reaped(std::move(impl_));
}

void TcpClient::on_open(std::move_only_function<void(TcpConnection&)> fn) {
  impl_->callbacks().open = std::move(fn);
}
void TcpClient::on_data(std::move_only_function<void(TcpConnection&, Buffer&)> fn) {
  impl_->callbacks().data = std::move(fn);
}
void TcpClient::on_half_close(std::move_only_function<void(TcpConnection&)> fn) {
  impl_->callbacks().half_close = std::move(fn);
}
void TcpClient::on_blocked(std::move_only_function<void(TcpConnection&)> fn) {
  impl_->callbacks().blocked = std::move(fn);
}
void TcpClient::on_drained(std::move_only_function<void(TcpConnection&)> fn) {
  impl_->callbacks().drained = std::move(fn);
}
void TcpClient::on_timeout(std::move_only_function<bool(TcpConnection&, CloseReason::Kind)> fn) {
  impl_->callbacks().timeout = std::move(fn);
}
void TcpClient::on_heartbeat(std::move_only_function<void(TcpConnection&)> fn) {
  impl_->callbacks().heartbeat = std::move(fn);
}
void TcpClient::on_close(std::move_only_function<void(TcpConnection&, CloseReason)> fn) {
  impl_->callbacks().close = std::move(fn);
}

void TcpClient::use_handler(std::shared_ptr<ConnectionHandler> handler) {
  static_cast<void>(impl_->callbacks());  // checks the same conditions
  impl_->handler_ = std::move(handler);
}

void TcpClient::handlers_per_connection(
    std::function<std::unique_ptr<ConnectionHandler>(TcpConnection&)> factory) {
  use_handler(std::make_shared<internal::PerConnectionHandler>(std::move(factory)));
}

void TcpClient::on_connect_error(std::move_only_function<void(const Error&, int)> fn) {
  static_cast<void>(impl_->callbacks());
  impl_->connect_error_ = std::move(fn);
}

Result<void> TcpClient::connect(std::string_view address) {
  auto parsed = SocketAddress::parse(address);
  if (!parsed) return std::unexpected(parsed.error().within("connect"));
  return impl_->connect({*parsed});
}

Result<void> TcpClient::connect(const SocketAddress& address) { return impl_->connect({address}); }

Result<void> TcpClient::connect(std::vector<SocketAddress> addresses) {
  return impl_->connect(std::move(addresses));
}

bool TcpClient::reconnect() { return impl_->reconnect(); }

void TcpClient::close() { impl_->close(); }

TcpClient::State TcpClient::state() const { return impl_->state(); }

ConnectionRef TcpClient::connection() const {
  internal::core_of(impl_->loop_).check_thread("TcpClient::connection");
  return impl_->current_;
}

TcpClient::Stats TcpClient::stats() const { return impl_->stats(); }

}  // namespace weir
