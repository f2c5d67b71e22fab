#include "weir/net/tcp/internal/connector.h"

#include <fmt/format.h>
#include <netinet/in.h>

#include <algorithm>
#include <cerrno>
#include <new>
#include <optional>
#include <string>
#include <utility>

#include "weir/base/check.h"
#include "weir/base/log_line.h"
#include "weir/net/reactor/internal/loop_core.h"
#include "weir/net/sys/sys.h"

namespace weir::internal {

namespace {

// The permissions of the file of a client. Nobody connects to it.
constexpr mode_t kFileMode = 0600;

}  // namespace

void Connector::start(std::vector<SocketAddress> addresses, Done done) {
  core_of(loop_).check_thread("Connector::start");
  WEIR_CHECK(!running(), "Connector::start while it is running");
  WEIR_CHECK(!addresses.empty() && done, "Connector::start without an address or a function");
  addresses_ = std::move(addresses);
  next_ = 0;
  done_ = std::move(done);
  time_left_ = options_.timeout;
  begin_address();
}

void Connector::cancel() {
  if (!running()) return;
  release_socket();
  loop_.cancel(std::exchange(step_timer_, {}));
  loop_.cancel(std::exchange(timeout_timer_, {}));
  const Done cancelled = std::exchange(done_, nullptr);
}

void Connector::begin_address() {
  retry_.reset();
  self_connects_ = 0;
  share_ = Duration::zero();
  try_later(Duration::zero());
}

// Called after connect(2), so that a delay of the loop before it does not reduce the time of the
// address. A retry continues the share of the first try.
void Connector::begin_share() {
  if (options_.timeout <= Duration::zero() || share_ > Duration::zero()) return;
  const auto addresses = static_cast<Duration::rep>(addresses_.size() - next_);
  const Duration share = std::max(time_left_ / addresses, Duration(1));
  began_ = sys::now();
  timeout_timer_ = loop_.run_at(saturating_add(began_, share), [this] { timed_out(); });
  share_ = share;
}

// An address uses at most its share, even if the loop was blocked beyond the end of it.
void Connector::end_share() {
  if (share_ > Duration::zero()) time_left_ -= std::min(sys::now() - began_, share_);
}

void Connector::try_later(Duration delay) {
  release_socket();
  rechecks_ = 0;
  loop_.cancel(step_timer_);
  step_timer_ = loop_.run_after(delay, [this] {
    step_timer_ = {};
    try_address();
  });
}

void Connector::try_address() {
  auto made = Socket::stream(address().family());
  if (!made) {
    address_failed("socket", made.error());
    return;
  }
  socket_ = std::move(*made);
  if (address().is_ip()) set_buffers(socket_, options_.stream, "connect");
  std::optional<Error> refused;
  try {
    if (const auto bound = bind(); !bound) refused = bound.error().within(doing());
  } catch (const std::bad_alloc&) {
    return no_memory();
  }
  if (refused) return address_failed(*std::move(refused));
  const auto begun = socket_.connect(address());
  if (begun) {
    connected(socket_.peer_address());
  } else if (begun.error() == EINPROGRESS) {
    watch();
  } else if (begun.error() == EAGAIN && address().is_unix()) {
    try_later(retry_.next());
    begin_share();
  } else {
    address_failed({}, begun.error());
  }
}

void Connector::watch() try {
  begin_share();
  channel_.emplace(loop_, socket_.fd(), static_cast<IoHandler&>(*this));
  channel_->set_writing(true);
} catch (const std::bad_alloc&) {
  no_memory();
}

Result<void> Connector::bind() {
  if (!options_.bind_to) return {};
  const SocketAddress& local = *options_.bind_to;
  const std::string what = "bind to " + local.to_string();
  if (local.family() == SocketAddress::Family::unix_path) {
    auto file = SocketFile::bind(socket_, local, kFileMode, SocketFile::Use::client, what);
    if (!file) return std::unexpected(std::move(file.error()));
    file_ = std::move(*file);
    return {};
  }
  if (local.is_ip() && local.port() == 0) {
    // connect(2) then chooses the port, and only the pair of both addresses has to be unique.
    // Without the option bind(2) chooses it, and the port has to be free. An old kernel works
    // without it.
    static_cast<void>(socket_.set_bind_address_no_port(true));
  } else if (local.is_ip()) {
    // Allows the next connection from this port while a previous one is in TIME_WAIT.
    static_cast<void>(socket_.set_reuse_addr(true));
  }
  if (auto done = socket_.bind(local); !done) return std::unexpected(Error(what, done.error()));
  return {};
}

// True: the connect has succeeded or failed, and this was handled.
bool Connector::finish_if_decided() {
  if (const Errno error = socket_.error()) {
    address_failed({}, error);
    return true;
  }
  const SocketAddress peer = socket_.peer_address();
  if (peer.family() == SocketAddress::Family::unspecified) return false;
  connected(peer);
  return true;
}

// The answer may have arrived in time while the process or the loop was not running.
void Connector::timed_out() {
  timeout_timer_ = {};
  if (channel_ && finish_if_decided()) return;
  address_failed("no answer in time", Errno(ETIMEDOUT));
}

// EPOLLHUP and EPOLLRDHUP were observed during a connect that succeeded later.
void Connector::on_ready(std::uint32_t) {
  if (finish_if_decided()) return;
  if (++rechecks_ > kMaxRechecks) {
    address_failed({}, Errno(ENOTCONN));
    return;
  }
  // Not watched for a while: level-triggered epoll would report the same event in each turn.
  channel_->set_writing(false);
  if (step_timer_) return;  // a second event of the same turn
  step_timer_ = loop_.run_after(kRecheck, [this] {
    step_timer_ = {};
    channel_->set_writing(true);
  });
}

void Connector::connected(const SocketAddress& peer) {
  if (peer.is_ip() && socket_.local_address() == peer) {
    connected_to_itself();
    return;
  }
  channel_.reset();
  report(socket_.take_fd());
}

// TCP allows a simultaneous open (RFC 9293, 3.5), so a socket can connect to its own address and
// port. No server listens there, and none can while this socket is open.
void Connector::connected_to_itself() {
  static_cast<void>(socket_.set_linger(std::chrono::seconds(0)));  // no TIME_WAIT on that port
  if (++self_connects_ > kMaxSelfConnects) {
    address_failed("the socket has connected to itself", Errno(ECONNREFUSED));
  } else {
    try_later(Duration::zero());
  }
}

std::string Connector::doing() const {
  std::string what = "connect to " + address().to_string();
  const bool last = next_ + 1 == addresses_.size();
  if (last && next_ > 0) what.append(fmt::format(", the last of {} addresses", addresses_.size()));
  return what;
}

// Tries the address again. If its share has ended, it gets another one.
void Connector::no_memory() {
  if (!timeout_timer_) share_ = Duration::zero();
  try_later(kMemoryPause);
}

void Connector::address_failed(std::string_view step, Errno error) {
  std::optional<Error> why;
  try {
    std::string what = doing();
    if (!step.empty()) what.append(": ").append(step);
    why.emplace(std::move(what), error);
  } catch (const std::bad_alloc&) {
    return no_memory();
  }
  address_failed(*std::move(why));
}

void Connector::address_failed(Error why) {
  const bool last = next_ + 1 == addresses_.size();
  release_socket();
  loop_.cancel(std::exchange(step_timer_, {}));
  loop_.cancel(std::exchange(timeout_timer_, {}));
  if (!last) {
    WEIR_LOG(debug, "{}; trying the next address", why);
    end_share();
    ++next_;
    begin_address();
  } else {
    report(std::unexpected(std::move(why)));
  }
}

void Connector::on_interest_refused(Errno error) { address_failed("epoll_ctl", error); }

void Connector::release_socket() {
  channel_.reset();
  file_.remove();
  socket_.close();
}

// `done` may destroy this.
void Connector::report(Result<Fd> result) {
  loop_.cancel(std::exchange(step_timer_, {}));
  loop_.cancel(std::exchange(timeout_timer_, {}));
  Done done = std::exchange(done_, nullptr);
  done(std::move(result));
}

}  // namespace weir::internal
