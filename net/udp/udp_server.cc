#include "weir/net/udp/udp_server.h"

#include <algorithm>
#include <string>
#include <utility>
#include <vector>

#include "weir/base/check.h"
#include "weir/base/metrics.h"
#include "weir/base/mutex.h"
#include "weir/net/reactor/internal/loop_core.h"
#include "weir/net/reactor/internal/run_on.h"
#include "weir/net/reactor/shards.h"
#include "weir/net/sys/sys.h"
#include "weir/net/udp/internal/datagram_callbacks.h"
#include "weir/net/udp/internal/open_datagram.h"

namespace weir {

using internal::run_on;
using internal::try_run_on;
using Call = internal::ShardsBase::Call;

namespace {

// During a shutdown the server checks at this interval whether the queues of its sockets are empty.
constexpr Duration kDrainCheck = std::chrono::milliseconds(5);

// The part of a server on one loop. [that loop], unless marked.
struct KeptHandler final : internal::Kept {
  std::shared_ptr<DatagramHandler> handler;
};

class UdpShard : public internal::Shard {
 public:
  using Shard::Shard;

  // Takes over a bound socket.
  void add(std::unique_ptr<UdpSocket> socket);
  void close_last();
  // Stops receiving. Closes the sockets when their queues are empty, or at close(), and then calls
  // `over`.
  void drain(Call over);
  void close();
  void release();
  void add_counters(UdpSocket::Stats& sum) const;  // [any]

  const std::shared_ptr<DatagramHandler>& handler() const { return kept_->handler; }
  void set_handler(std::shared_ptr<DatagramHandler> handler) {
    kept_->handler = std::move(handler);
  }

 private:
  void close_if_drained();

  std::shared_ptr<KeptHandler> kept_ = std::make_shared<KeptHandler>();
  mutable internal::Mutex mutex_;  // add_counters() may run while a socket is added or removed
  std::vector<std::unique_ptr<UdpSocket>> sockets_;  // written on the loop only, under the mutex
  TimerId drain_timer_;
  Call over_;  // null: not draining
};

void UdpShard::add(std::unique_ptr<UdpSocket> socket) {
  const internal::MutexLock lock(mutex_);
  sockets_.push_back(std::move(socket));
}

void UdpShard::close_last() {
  std::unique_ptr<UdpSocket> last;
  const internal::MutexLock lock(mutex_);
  last = std::move(sockets_.back());
  sockets_.pop_back();
}

void UdpShard::drain(Call over) {
  over_ = std::move(over);
  for (const auto& socket : sockets_) socket->pause_receiving();
  drain_timer_ = loop.run_every(kDrainCheck, [this] { close_if_drained(); });
  close_if_drained();
}

void UdpShard::close_if_drained() {
  const auto waits = [](const auto& socket) { return socket->queued_datagrams() > 0; };
  if (std::ranges::none_of(sockets_, waits)) close();
}

void UdpShard::close() {
  if (!over_) return;
  loop.cancel(drain_timer_);
  for (const auto& socket : sockets_) socket->close();
  over_();
  over_ = nullptr;
}

void UdpShard::release() {
  loop.cancel(drain_timer_);
  std::vector<std::unique_ptr<UdpSocket>> sockets;  // their handler's forget() may call stats()
  {
    const internal::MutexLock lock(mutex_);
    sockets.swap(sockets_);
  }
  sockets.clear();
  internal::core_of(loop).keep_until_reaped(std::move(kept_));
}

void UdpShard::add_counters(UdpSocket::Stats& sum) const {
  const internal::MutexLock lock(mutex_);
  for (const auto& socket : sockets_) add_metrics(sum, socket->stats());
}

}  // namespace

// Outlives the UdpServer until the end of the turn, because one of its functions may be running.
class UdpServer::Impl : public internal::Kept {
 public:
  Impl(EventLoop& loop, const Options& options)
      : shards_(loop, {.server = "UdpServer",
                       .threads = options.threads,
                       .pool = options.pool,
                       .loop = options.loop}),
        options_(options) {}

  Result<SocketAddress> listen(const SocketAddress& address);
  void shutdown(const Ending& how, std::move_only_function<void()> done);
  // For destroy_server().
  void cancel_timers() { loop().cancel(timer_); }
  void release() {}

  EventLoop& loop() const { return shards_.home(); }
  internal::DatagramCallbacks& callbacks() {
    internal::core_of(loop()).check_thread("UdpServer::on_...");
    WEIR_CHECK(!shards_.started(), "UdpServer: handlers must be set before the first listen()");
    return *callbacks_;
  }

  std::shared_ptr<DatagramHandler> handler_;
  std::function<std::shared_ptr<DatagramHandler>(EventLoop&)> factory_;
  internal::Shards<UdpShard> shards_;

 private:
  enum class Phase { serving, grace, draining, stopped };

  Result<void> start();
  Result<SocketAddress> open(UdpShard& shard, const SocketAddress& address);
  Result<internal::OpenDatagram> take_port(const SocketAddress& address) const;
  void stop_receiving();
  void close_sockets();
  void stopped();

  const Options options_;
  const std::shared_ptr<internal::DatagramCallbacks> callbacks_ =
      std::make_shared<internal::DatagramCallbacks>();
  Phase phase_ = Phase::serving;
  TimePoint deadline_ = TimePoint::max();
  TimePoint stop_at_ = TimePoint::max();  // end of the grace, at most deadline_
  TimerId timer_;                         // to the end of the grace, then to the deadline
};

// --- starting ------------------------------------------------------------------------------------

Result<void> UdpServer::Impl::start() {
  if (!handler_) handler_ = callbacks_;
  return shards_.start([this](UdpShard& shard) -> Result<void> {
    shard.set_handler(factory_ ? factory_(shard.loop) : handler_);
    WEIR_CHECK(shard.handler() != nullptr,
               "UdpServer::handlers_per_loop: the factory returned no handler");
    return {};
  });
}

Result<SocketAddress> UdpServer::Impl::open(UdpShard& shard, const SocketAddress& address) {
  Result<SocketAddress> bound = address;
  run_on(shard.loop, [&] {
    UdpSocket::Options options = options_.socket;
    options.reuse_port = shards_.pooled() && address.is_ip();
    auto socket = std::make_unique<UdpSocket>(shard.loop, options);
    socket->use_handler(shard.handler());
    bound = socket->bind(address);
    if (bound) shard.add(std::move(socket));
  });
  return bound;
}

Result<SocketAddress> UdpServer::Impl::listen(const SocketAddress& address) {
  internal::core_of(loop()).check_thread("UdpServer::listen");
  if (phase_ != Phase::serving) {
    return std::unexpected(Error("bind to " + address.to_string() + ": the server was shut down"));
  }
  if (!shards_.pooled() || !address.is_ip()) {
    if (auto started = start(); !started) return std::unexpected(std::move(started.error()));
    return open(shards_[0], address);
  }
  auto keeper = take_port(address);
  if (!keeper) return std::unexpected(std::move(keeper.error()));
  if (auto started = start(); !started) return std::unexpected(std::move(started.error()));
  const SocketAddress bound = internal::local_address_of(keeper->socket.fd());
  for (std::size_t i = 0; i < shards_.size(); ++i) {
    auto one = open(shards_[i], bound);
    if (one) continue;
    while (i > 0) {
      UdpShard& shard = shards_[--i];
      try_run_on(shard.loop, [&] { shard.close_last(); });
      try_run_on(shard.loop, [] {});  // waits a turn: the descriptor is closed at its end
    }
    return one;
  }
  return bound;
}

// With SO_REUSEPORT alone the port could be shared with another server of this user, and port 0
// could choose a port that is in use. So a socket without the option takes the port first; then it
// sets the option, and the sockets of this server join.
Result<internal::OpenDatagram> UdpServer::Impl::take_port(const SocketAddress& address) const {
  const std::string doing = "bind to " + address.to_string();
  UdpSocket::Options plain = options_.socket;
  plain.reuse_port = false;
  auto keeper = internal::OpenDatagram::make(address, plain, doing);
  if (!keeper) return keeper;
  if (auto taken = keeper->bind(address, 0, doing); !taken) {
    return std::unexpected(std::move(taken.error()));
  }
  if (auto shared = keeper->socket.set_reuse_port(true); !shared) {
    return std::unexpected(Error(doing + ": SO_REUSEPORT", shared.error()));
  }
  return keeper;
}

// --- ending --------------------------------------------------------------------------------------

void UdpServer::Impl::shutdown(const Ending& how, std::move_only_function<void()> done) {
  shards_.add_done(std::move(done));
  if (phase_ == Phase::stopped) {
    shards_.post_home([this] { shards_.call_done(); });
    return;
  }
  const TimePoint now = internal::sys::now();
  const TimePoint deadline = std::min(deadline_, saturating_add(now, how.deadline));
  const TimePoint stop_at = std::min({stop_at_, deadline, saturating_add(now, how.grace)});
  const bool earlier = phase_ == Phase::draining ? deadline < deadline_ : stop_at < stop_at_;
  deadline_ = deadline;
  stop_at_ = stop_at;
  if (!earlier) return;
  loop().cancel(timer_);
  if (phase_ == Phase::draining) {
    timer_ = loop().run_at(deadline_, [this] { close_sockets(); });
  } else {
    phase_ = Phase::grace;
    timer_ = loop().run_at(stop_at_, [this] { stop_receiving(); });
  }
}

// Posted to all loops, including this one: each first serves what is ready in the same turn.
void UdpServer::Impl::stop_receiving() {
  phase_ = Phase::draining;
  shards_.on_each([](UdpShard& shard, Call over) { shard.drain(std::move(over)); },
                  [this] { stopped(); });
  timer_ = loop().run_at(deadline_, [this] { close_sockets(); });
}

void UdpServer::Impl::close_sockets() {
  shards_.post_each([](UdpShard& shard) { shard.close(); });
}

void UdpServer::Impl::stopped() {
  phase_ = Phase::stopped;
  cancel_timers();
  shards_.call_done();
}

// --- the public class ----------------------------------------------------------------------------

UdpServer::UdpServer(EventLoop& loop, Options options)
    : impl_(std::make_shared<Impl>(loop, options)) {
  internal::core_of(loop).check_thread("UdpServer::UdpServer");
}

UdpServer::~UdpServer() {
  internal::core_of(impl_->loop()).check_thread("UdpServer::~UdpServer");
  internal::destroy_server(impl_);
}

void UdpServer::on_datagrams(
    std::move_only_function<void(UdpSocket&, std::span<const Datagram>)> fn) {
  impl_->callbacks().datagrams = std::move(fn);
}
void UdpServer::on_send_failed(
    std::move_only_function<void(UdpSocket&, const FailedDatagram&)> fn) {
  impl_->callbacks().send_failed = std::move(fn);
}
void UdpServer::on_drained(std::move_only_function<void(UdpSocket&)> fn) {
  impl_->callbacks().drained = std::move(fn);
}
void UdpServer::on_error(std::move_only_function<void(UdpSocket&, Errno)> fn) {
  impl_->callbacks().error = std::move(fn);
}

void UdpServer::use_handler(std::shared_ptr<DatagramHandler> handler) {
  static_cast<void>(impl_->callbacks());  // checks the same conditions
  impl_->handler_ = std::move(handler);
}

void UdpServer::handlers_per_loop(
    std::function<std::shared_ptr<DatagramHandler>(EventLoop&)> factory) {
  static_cast<void>(impl_->callbacks());
  impl_->factory_ = std::move(factory);
}

Result<SocketAddress> UdpServer::listen(std::string_view address) {
  auto parsed = SocketAddress::parse(address);
  if (!parsed) return std::unexpected(parsed.error().within("listen"));
  return impl_->listen(*parsed);
}

Result<SocketAddress> UdpServer::listen(const SocketAddress& address) {
  return impl_->listen(address);
}

void UdpServer::shutdown(Duration deadline, std::move_only_function<void()> done) {
  shutdown(Ending{.deadline = deadline}, std::move(done));
}

void UdpServer::shutdown(const Ending& how, std::move_only_function<void()> done) {
  impl_->shards_.dispatch_home([impl = impl_.get(), how, done = std::move(done)]() mutable {
    impl->shutdown(how, std::move(done));
  });
}

UdpSocket::Stats UdpServer::stats() const {
  UdpSocket::Stats sum;
  for (const auto& shard : impl_->shards_) shard->add_counters(sum);
  return sum;
}

std::size_t UdpServer::loop_count() const { return impl_->shards_.size(); }

EventLoop& UdpServer::loop(std::size_t index) const { return impl_->shards_.loop(index); }

}  // namespace weir
