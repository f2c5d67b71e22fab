#include "weir/net/tcp/internal/connector.h"

#include <fmt/format.h>
#include <netinet/in.h>

#include <algorithm>
#include <cerrno>
#include <string>
#include <utility>

#include "weir/base/check.h"
#include "weir/base/log_line.h"
#include "weir/net/reactor/internal/loop_core.h"
#include "weir/net/sys/sys.h"

namespace weir::internal {

namespace {

// Of the file of a client, to which nobody connects.
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
  const Done forgotten = std::exchange(done_, nullptr);
}

void Connector::begin_address() {
  retry_.reset();
  self_connects_ = 0;
  share_ = Duration::zero();
  try_later(Duration::zero());
}

// After connect(2), so that time in which the loop did not run is not taken from the address. A
// retry goes on with the time of the first try.
void Connector::begin_share() {
  if (options_.timeout <= Duration::zero() || share_ > Duration::zero()) return;
  const auto addresses = static_cast<Duration::rep>(addresses_.size() - next_);
  const Duration share = std::max(time_left_ / addresses, Duration(1));
  began_ = sys::now();
  timeout_timer_ = loop_.run_at(saturating_add(began_, share), [this] { timed_out(); });
  share_ = share;
}

// An address uses its share at most, also when the loop was held beyond it.
void Connector::end_share() {
  if (share_ > Duration::zero()) time_left_ -= std::min(sys::now() - began_, share_);
}

void Connector::try_later(Duration delay) {
  release_socket();
  looks_ = 0;
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
  if (const auto bound = bind(); !bound) {
    address_failed(bound.error().within(doing()));
    return;
  }
  const auto begun = socket_.connect(address());
  if (begun) {
    connected(socket_.peer_address());
  } else if (begun.error() == EINPROGRESS) {
    begin_share();
    channel_.emplace(loop_, socket_.fd(), static_cast<IoHandler&>(*this));
    channel_->set_writing(true);
  } else if (begun.error() == EAGAIN && address().is_unix()) {
    try_later(retry_.next());
    begin_share();
  } else {
    address_failed({}, begun.error());
  }
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
    // The port is chosen in connect(2), where only the four of both ends must be unlike any other,
    // instead of here, where the port itself must be free. A kernel without it still binds.
    static_cast<void>(socket_.set_bind_address_no_port(true));
  } else if (local.is_ip()) {
    // A connection from that port that ended just now (TIME_WAIT) does not forbid the next.
    static_cast<void>(socket_.set_reuse_addr(true));
  }
  if (auto done = socket_.bind(local); !done) return std::unexpected(Error(what, done.error()));
  return {};
}

// True: the kernel has decided, and it was told.
bool Connector::answered() {
  if (const Errno error = socket_.error()) {
    address_failed({}, error);
    return true;
  }
  const SocketAddress peer = socket_.peer_address();
  if (peer.family() == SocketAddress::Family::unspecified) return false;
  connected(peer);
  return true;
}

// The answer may have come in time, and the process, or its loop, was kept from seeing it.
void Connector::timed_out() {
  timeout_timer_ = {};
  if (channel_ && answered()) return;
  address_failed("no answer in time", Errno(ETIMEDOUT));
}

// EPOLLHUP and EPOLLRDHUP have been seen in the midst of a connect that succeeded.
void Connector::on_ready(std::uint32_t) {
  if (answered()) return;
  if (++looks_ > kMaxLooks) {
    address_failed({}, Errno(ENOTCONN));
    return;
  }
  // Out of epoll for a while: level-triggered, it would report the same for ever.
  channel_->set_writing(false);
  if (step_timer_) return;  // a second event of the same turn
  step_timer_ = loop_.run_after(kLookAgain, [this] {
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

// TCP lets two ends open at once (RFC 9293, 3.5), and if they have the same address and port they
// are one. Nobody listens there, and while this socket lives nobody can.
void Connector::connected_to_itself() {
  static_cast<void>(socket_.set_linger(std::chrono::seconds(0)));  // no TIME_WAIT on that port
  if (++self_connects_ > kMaxSelfConnects) {
    address_failed("only this socket itself answers", Errno(ECONNREFUSED));
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

void Connector::address_failed(std::string_view step, Errno error) {
  std::string what = doing();
  if (!step.empty()) what.append(": ").append(step);
  address_failed(Error(std::move(what), error));
}

void Connector::address_failed(const Error& why) {
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
    report(std::unexpected(why));
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
