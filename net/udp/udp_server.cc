#include "weir/net/udp/udp_server.h"

#include <algorithm>
#include <mutex>
#include <utility>
#include <vector>

#include "weir/base/check.h"
#include "weir/net/reactor/loop_pool.h"
#include "weir/net/reactor/run_on.h"
#include "weir/net/sys/sys.h"
#include "weir/net/udp/internal/open_datagram.h"

namespace weir {

using internal::run_on;
using internal::try_run_on;

namespace {

// How often a server that ends asks whether its sockets have sent what waits.
constexpr Duration kDrainCheck = std::chrono::milliseconds(5);

// Shared by all loops.
struct SharedCallback final : DatagramHandler {
  std::function<void(UdpSocket&, std::span<const Datagram>)> datagrams;
  void on_datagrams(UdpSocket& socket, std::span<const Datagram> batch) override {
    if (datagrams) datagrams(socket, batch);
  }
};

// What a server has on one loop.
struct Shard {
  explicit Shard(EventLoop& on) : loop(on) {}
  EventLoop& loop;
  std::shared_ptr<DatagramHandler> handler;  // made and used on the loop
  std::vector<std::unique_ptr<UdpSocket>> sockets;
  TimerId drain_timer;
  bool stopped = false;  // its sockets are closed
};

}  // namespace

class UdpServer::Impl : public std::enable_shared_from_this<UdpServer::Impl> {
 public:
  Impl(EventLoop& loop, Options options) : loop_(loop), options_(options) {
    WEIR_CHECK(options.pool == nullptr || options.threads == 0,
               "UdpServer with both a pool and threads of its own");
  }

  Result<SocketAddress> listen(const SocketAddress& address);
  void shutdown(Duration deadline, std::move_only_function<void()> done);
  void destroy();
  UdpSocket::Stats stats() const;

  void check_unstarted() const {
    loop_.check_thread("UdpServer: setting a handler");
    WEIR_CHECK(shards_.empty(), "UdpServer: handlers must be set before the first listen()");
  }

  EventLoop& loop_;
  std::shared_ptr<DatagramHandler> handler_ = std::make_shared<SharedCallback>();
  std::function<std::shared_ptr<DatagramHandler>(EventLoop&)> factory_;
  std::vector<std::unique_ptr<Shard>> shards_;  // constant after the first listen()

 private:
  enum class Phase { serving, stopping, stopped, destroyed };

  Result<void> start();
  Result<SocketAddress> open(Shard& shard, const SocketAddress& address);
  Result<internal::OpenDatagram> take_port(const SocketAddress& address) const;
  void close_last(Shard& shard);
  void stop_shard(Shard& shard, TimePoint deadline);
  void close_if_drained(Shard& shard, TimePoint deadline);
  void shard_stopped();
  void tell_done();
  void post_home(void (Impl::*step)());

  const Options options_;
  std::unique_ptr<LoopPool> own_pool_;
  LoopPool* pool_ = nullptr;          // that one, or one of the program's; null: all is on loop_
  mutable std::mutex sockets_mutex_;  // the lists of sockets, for stats()
  Phase phase_ = Phase::serving;
  std::size_t shards_running_ = 0;
  TimePoint deadline_ = TimePoint::max();
  std::vector<std::move_only_function<void()>> done_;
};

// --- starting ------------------------------------------------------------------------------------

Result<void> UdpServer::Impl::start() {
  if (!shards_.empty()) return {};
  if (options_.pool != nullptr && options_.pool->size() > 0) {
    pool_ = options_.pool;
  } else if (options_.threads > 0) {
    auto pool = LoopPool::create(options_.threads, options_.loop);
    if (!pool) return std::unexpected(std::move(pool.error()));
    own_pool_ = std::move(*pool);
    pool_ = own_pool_.get();
  }
  if (pool_ != nullptr) {
    for (std::size_t i = 0; i < pool_->size(); ++i) {
      shards_.push_back(std::make_unique<Shard>(pool_->loop(i)));
    }
  } else {
    shards_.push_back(std::make_unique<Shard>(loop_));
  }
  try {
    for (const auto& shard : shards_) {
      run_on(shard->loop, [&] {
        shard->handler = factory_ ? factory_(shard->loop) : handler_;
        WEIR_CHECK(shard->handler != nullptr,
                   "UdpServer::handlers_per_loop: the factory returned no handler");
      });
    }
  } catch (...) {  // the factory's; as if nothing had happened
    for (const auto& shard : shards_) {
      try_run_on(shard->loop, [&] { shard->handler.reset(); });
    }
    shards_.clear();
    pool_ = nullptr;
    own_pool_.reset();
    throw;
  }
  return {};
}

Result<SocketAddress> UdpServer::Impl::open(Shard& shard, const SocketAddress& address) {
  Result<SocketAddress> bound = address;
  run_on(shard.loop, [&] {
    UdpSocket::Options options = options_.socket;
    options.reuse_port = pool_ != nullptr && address.is_ip();
    auto socket = std::make_unique<UdpSocket>(shard.loop, options);
    socket->use_handler(shard.handler);
    bound = socket->bind(address);
    if (!bound) return;
    const std::lock_guard lock(sockets_mutex_);
    shard.sockets.push_back(std::move(socket));
  });
  return bound;
}

Result<SocketAddress> UdpServer::Impl::listen(const SocketAddress& address) {
  loop_.check_thread("UdpServer::listen");
  if (phase_ != Phase::serving) {
    return std::unexpected(Error("bind to " + address.to_string() + ": the server was shut down"));
  }
  const bool several =
      options_.threads > 0 || (options_.pool != nullptr && options_.pool->size() > 0);
  if (!several || !address.is_ip()) {
    if (auto started = start(); !started) return std::unexpected(std::move(started.error()));
    return open(*shards_.front(), address);
  }
  auto keeper = take_port(address);
  if (!keeper) return std::unexpected(std::move(keeper.error()));
  if (auto started = start(); !started) return std::unexpected(std::move(started.error()));
  const SocketAddress bound = internal::local_address_of(keeper->socket.fd());
  for (std::size_t i = 0; i < shards_.size(); ++i) {
    if (auto one = open(*shards_[i], bound); !one) {
      while (i > 0) close_last(*shards_[--i]);
      return one;
    }
  }
  return bound;
}

// SO_REUSEPORT would let us share the port with another server of this user, and with port 0 even
// get one that is taken. So a socket without it has the port first, and lets only ours join then.
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

void UdpServer::Impl::close_last(Shard& shard) {
  try_run_on(shard.loop, [&] {
    std::unique_ptr<UdpSocket> last;
    {
      const std::lock_guard lock(sockets_mutex_);
      last = std::move(shard.sockets.back());
      shard.sockets.pop_back();
    }
    last.reset();
  });
  try_run_on(shard.loop, [] {});  // a turn later: the descriptor was closed at the end of that one
}

// --- ending --------------------------------------------------------------------------------------

void UdpServer::Impl::shutdown(Duration deadline, std::move_only_function<void()> done) {
  if (phase_ == Phase::destroyed) return;
  if (done) done_.push_back(std::move(done));
  const TimePoint when = saturating_add(internal::sys::now(), deadline);
  if (phase_ == Phase::stopped || shards_.empty()) {
    phase_ = Phase::stopped;
    post_home(&Impl::tell_done);
    return;
  }
  if (phase_ == Phase::serving) {
    phase_ = Phase::stopping;
    shards_running_ = shards_.size();
  } else if (when >= deadline_) {
    return;
  }
  deadline_ = when;
  // Posted also to this very loop: what is ready in the turn that runs it has been served by then.
  for (const auto& shard : shards_) {
    shard->loop.post(
        [self = shared_from_this(), &part = *shard, when] { self->stop_shard(part, when); });
  }
}

// On the shard's loop. A second one has an earlier deadline.
void UdpServer::Impl::stop_shard(Shard& shard, TimePoint deadline) {
  const bool again = shard.loop.cancel(shard.drain_timer);
  if (shard.stopped || shard.handler == nullptr) return;  // destroyed
  if (!again) {
    for (const auto& socket : shard.sockets) socket->pause_receiving();
  }
  shard.drain_timer = shard.loop.run_every(
      kDrainCheck, [this, &shard, deadline] { close_if_drained(shard, deadline); });
  close_if_drained(shard, deadline);
}

void UdpServer::Impl::close_if_drained(Shard& shard, TimePoint deadline) {
  const bool waits = std::ranges::any_of(
      shard.sockets, [](const auto& socket) { return socket->queued_datagrams() > 0; });
  if (waits && shard.loop.now() < deadline) return;
  shard.loop.cancel(shard.drain_timer);
  shard.drain_timer = {};
  shard.stopped = true;
  for (const auto& socket : shard.sockets) socket->close();
  post_home(&Impl::shard_stopped);
}

void UdpServer::Impl::shard_stopped() {
  if (phase_ != Phase::stopping || --shards_running_ > 0) return;
  phase_ = Phase::stopped;
  tell_done();
}

// One a task: it may throw, which leaves run(), or destroy the server.
void UdpServer::Impl::tell_done() {
  if (done_.empty()) return;
  auto done = std::move(done_.front());
  done_.erase(done_.begin());
  if (!done_.empty()) post_home(&Impl::tell_done);
  done();
}

// [any]
void UdpServer::Impl::post_home(void (Impl::*step)()) {
  loop_.post([self = weak_from_this(), step] {
    if (auto server = self.lock()) ((*server).*step)();
  });
}

// From ~UdpServer, which may be called inside a handler on this loop.
void UdpServer::Impl::destroy() {
  loop_.check_thread("UdpServer::~UdpServer");
  phase_ = Phase::destroyed;
  done_.clear();
  if (pool_ != nullptr && loop_.forked()) {
    // The loops' threads did not come along into this child: what is on them stays as it is.
    static_cast<void>(new std::shared_ptr<Impl>(shared_from_this()));
    return;  // NOLINT(clang-analyzer-cplusplus.NewDeleteLeaks): kept for ever, as said
  }
  for (const auto& shard : shards_) {
    try_run_on(shard->loop, [&] {
      shard->loop.cancel(shard->drain_timer);
      std::vector<std::unique_ptr<UdpSocket>> sockets;  // their handlers' forget() may ask stats()
      {
        const std::lock_guard lock(sockets_mutex_);
        sockets.swap(shard->sockets);
      }
      sockets.clear();
      shard->loop.keep_until_reaped(std::move(shard->handler));
    });
  }
  own_pool_.reset();
}

UdpSocket::Stats UdpServer::Impl::stats() const {
  UdpSocket::Stats sum;
  const std::lock_guard lock(sockets_mutex_);
  for (const auto& shard : shards_) {
    for (const auto& socket : shard->sockets) {
      const UdpSocket::Stats one = socket->stats();
      sum.received += one.received;
      sum.bytes_in += one.bytes_in;
      sum.truncated += one.truncated;
      sum.sent += one.sent;
      sum.bytes_out += one.bytes_out;
      sum.dropped += one.dropped;
      sum.send_failed += one.send_failed;
      sum.errors += one.errors;
      sum.receive_calls += one.receive_calls;
      sum.send_calls += one.send_calls;
    }
  }
  return sum;
}

// --- the public face -----------------------------------------------------------------------------

UdpServer::UdpServer(EventLoop& loop, Options options)
    : impl_(std::make_shared<Impl>(loop, options)) {
  loop.check_thread("UdpServer::UdpServer");
}

UdpServer::~UdpServer() {
  impl_->destroy();
  impl_->loop_.keep_until_reaped(std::move(impl_));  // one of its tasks may be running
}

void UdpServer::on_datagrams(std::function<void(UdpSocket&, std::span<const Datagram>)> fn) {
  impl_->check_unstarted();
  auto handler = std::make_shared<SharedCallback>();
  handler->datagrams = std::move(fn);
  impl_->handler_ = std::move(handler);
}

void UdpServer::use_handler(std::shared_ptr<DatagramHandler> handler) {
  impl_->check_unstarted();
  impl_->handler_ = std::move(handler);
}

void UdpServer::handlers_per_loop(
    std::function<std::shared_ptr<DatagramHandler>(EventLoop&)> factory) {
  impl_->check_unstarted();
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
  if (impl_->loop_.in_loop_thread()) {
    impl_->shutdown(deadline, std::move(done));
    return;
  }
  impl_->loop_.post([self = std::weak_ptr(impl_), deadline, done = std::move(done)]() mutable {
    if (auto impl = self.lock()) impl->shutdown(deadline, std::move(done));
  });
}

UdpSocket::Stats UdpServer::stats() const { return impl_->stats(); }

std::size_t UdpServer::loop_count() const { return impl_->shards_.size(); }

EventLoop& UdpServer::loop(std::size_t index) const {
  WEIR_CHECK(index < impl_->shards_.size(), "UdpServer::loop({}) of {}", index,
             impl_->shards_.size());
  return impl_->shards_[index]->loop;
}

}  // namespace weir
