#include "weir/net/tcp/tcp_server.h"

#include <algorithm>
#include <limits>
#include <memory>
#include <utility>

#include "weir/net/stream/internal/connection_limits.h"
#include "weir/net/stream/internal/per_connection_handler.h"
#include "weir/net/sys/process.h"
#include "weir/net/tcp/tcp_server_impl.h"

namespace weir {

using internal::ConnectionGroup;
using internal::Listener;
using internal::TcpShard;

namespace {

// A burst may have as many connections as max_accept_rate allows in this time.
constexpr Duration kAcceptBurst = std::chrono::milliseconds(100);

// Descriptors reserved for purposes other than connections.
constexpr std::size_t kDescriptorReserve = 64;

std::size_t connection_limit(std::size_t wanted) {
  const std::uint64_t files =
      internal::sys::descriptor_limit().value_or(std::numeric_limits<std::uint64_t>::max());
  const std::size_t limit = files - std::min<std::uint64_t>(kDescriptorReserve, files / 4);
  return wanted == 0 ? limit : std::min(wanted, limit);
}

}  // namespace

TcpServer::Impl::Impl(EventLoop& loop, const Options& options)
    : loop_(loop),
      shards_(loop, {.server = "TcpServer",
                     .threads = options.threads,
                     .pool = options.pool,
                     .loop = options.loop}),
      options_(options),
      connection_limit_(connection_limit(options.max_connections)),
      peers_(options.max_connections_per_peer > 0
                 ? std::make_shared<internal::PeerCounts>(options.max_connections_per_peer)
                 : nullptr),
      accept_rate_(options.max_accept_rate > 0 ? std::make_unique<internal::TokenBucket>(
                                                     options.max_accept_rate, kAcceptBurst)
                                               : nullptr) {}

// --- starting ------------------------------------------------------------------------------------

Result<void> TcpServer::Impl::start() {
  if (!handler_) handler_ = callbacks_;
  return shards_.start([this](TcpShard& shard) { return make_group(shard); });
}

Result<void> TcpServer::Impl::make_group(TcpShard& shard) {
  auto handler = factory_ ? factory_(shard.loop) : handler_;
  WEIR_CHECK(handler != nullptr, "TcpServer::handlers_per_loop: the factory returned no handler");
  auto limits = internal::limits_of(options_);
  limits.max_buffered = options_.max_buffered_per_loop;
  if (auto fits = internal::check_longest_message(*handler, limits); !fits) {
    return std::unexpected(fits.error().within("TcpServer"));
  }
  shard.group = std::make_shared<ConnectionGroup>(shard.loop, limits, std::move(handler),
                                                  open_count_, options_.transport);
  return {};
}

// --- queries -------------------------------------------------------------------------------------

void TcpServer::Impl::for_each_connection(std::function<void(TcpConnection&)> fn,
                                          std::move_only_function<void()> done) {
  shards_.on_each(
      [fn = std::make_shared<std::function<void(TcpConnection&)>>(std::move(fn))](
          TcpShard& shard, internal::ShardsBase::Call over) {
        shard.group->for_each(*fn);
        over();
      },
      std::move(done));
}

TcpServer::Stats TcpServer::Impl::stats() const {
  const internal::MutexLock lock(listeners_mutex_);
  Stats sum = closed_listeners_;
  sum.connections = open_count_->value();
  sum.accepted += adopted_.load(std::memory_order_relaxed);
  sum.refused = refused_.load(std::memory_order_relaxed);
  sum.refused_per_peer = refused_per_peer_.load(std::memory_order_relaxed);
  const Listener* previous = nullptr;  // whose socket is in accept_queues already
  for (const Listener& listener : listeners_) {
    if (previous == nullptr || !listener.same_socket(*previous)) {
      if (auto queue = listener.acceptor->queue()) {
        previous = &listener;
        sum.accept_queues.push_back({queue->address, queue->waiting, queue->limit});
      }
    }
    listener.add_counters(sum);
  }
  for (const auto& shard : shards_) {
    sum.bytes_in += shard->group->bytes_in.value();
    sum.bytes_out += shard->group->bytes_out.value();
    sum.buffered += shard->group->budget.held();
    sum.over_budget += shard->group->over_budget.value();
    sum.starved += shard->group->starved.value();
    for (std::size_t kind = 0; kind < sum.closed.size(); ++kind) {
      sum.closed[kind] += shard->group->closed[kind].value();
    }
  }
  return sum;
}

// --- the public class ----------------------------------------------------------------------------

TcpServer::TcpServer(EventLoop& loop, const Options& options)
    : impl_(std::make_shared<Impl>(loop, options)) {
  internal::core_of(loop).check_thread("TcpServer::TcpServer");
}

TcpServer::~TcpServer() {
  internal::core_of(impl_->loop_).check_thread("TcpServer::~TcpServer");
  internal::destroy_server(impl_);
}

void TcpServer::on_open(std::move_only_function<void(TcpConnection&)> fn) {
  impl_->callbacks().open = std::move(fn);
}
void TcpServer::on_data(std::move_only_function<void(TcpConnection&, Buffer&)> fn) {
  impl_->callbacks().data = std::move(fn);
}
void TcpServer::on_half_close(std::move_only_function<void(TcpConnection&)> fn) {
  impl_->callbacks().half_close = std::move(fn);
}
void TcpServer::on_blocked(std::move_only_function<void(TcpConnection&)> fn) {
  impl_->callbacks().blocked = std::move(fn);
}
void TcpServer::on_drained(std::move_only_function<void(TcpConnection&)> fn) {
  impl_->callbacks().drained = std::move(fn);
}
void TcpServer::on_timeout(std::move_only_function<bool(TcpConnection&, CloseReason::Kind)> fn) {
  impl_->callbacks().timeout = std::move(fn);
}
void TcpServer::on_heartbeat(std::move_only_function<void(TcpConnection&)> fn) {
  impl_->callbacks().heartbeat = std::move(fn);
}
void TcpServer::on_close(std::move_only_function<void(TcpConnection&, CloseReason)> fn) {
  impl_->callbacks().close = std::move(fn);
}

void TcpServer::use_handler(std::shared_ptr<ConnectionHandler> handler) {
  static_cast<void>(impl_->callbacks());  // checks the same conditions
  impl_->handler_ = std::move(handler);
}

void TcpServer::handlers_per_connection(
    std::function<std::unique_ptr<ConnectionHandler>(TcpConnection&)> factory) {
  use_handler(std::make_shared<internal::PerConnectionHandler>(std::move(factory)));
}

void TcpServer::handlers_per_loop(
    std::function<std::shared_ptr<ConnectionHandler>(EventLoop&)> factory) {
  static_cast<void>(impl_->callbacks());
  impl_->factory_ = std::move(factory);
}

Result<SocketAddress> TcpServer::listen(std::string_view address) {
  auto parsed = SocketAddress::parse(address);
  if (!parsed) return std::unexpected(parsed.error().within("listen"));
  return impl_->listen(*parsed);
}

Result<SocketAddress> TcpServer::listen(const SocketAddress& address) {
  return impl_->listen(address);
}

Result<std::vector<SocketAddress>> TcpServer::listen(std::vector<ListeningSocket> sockets) {
  return impl_->adopt(std::move(sockets));
}

Result<SocketAddress> TcpServer::listen(ListeningSocket socket) {
  std::vector<ListeningSocket> one;
  one.push_back(std::move(socket));
  auto adopted = impl_->adopt(std::move(one));
  if (!adopted) return std::unexpected(std::move(adopted.error()));
  return adopted->front();
}

Result<void> TcpServer::adopt(Fd connection) { return impl_->adopt(std::move(connection)); }

void TcpServer::pause_accepting() { impl_->set_accepting(false); }
void TcpServer::resume_accepting() { impl_->set_accepting(true); }

Result<void> TcpServer::close_listener(const SocketAddress& address,
                                       std::move_only_function<void()> done) {
  return impl_->close_listener(address, std::move(done));
}

Result<std::vector<ListenerShare>> TcpServer::duplicate_listeners() const {
  return impl_->duplicate_listeners();
}

void TcpServer::shutdown(Duration deadline, std::move_only_function<void()> done) {
  shutdown(Ending{.deadline = deadline}, std::move(done));
}

void TcpServer::shutdown(const Ending& how, std::move_only_function<void()> done) {
  impl_->shards_.dispatch_home([impl = impl_.get(), how, done = std::move(done)]() mutable {
    impl->shutdown(how, std::move(done));
  });
}

void TcpServer::for_each_connection(std::function<void(TcpConnection&)> fn,
                                    std::move_only_function<void()> done) {
  impl_->for_each_connection(std::move(fn), std::move(done));
}

std::size_t TcpServer::connection_count() const { return impl_->open_count_->value(); }

TcpServer::Stats TcpServer::stats() const { return impl_->stats(); }

std::size_t TcpServer::loop_count() const { return impl_->shards_.size(); }

EventLoop& TcpServer::loop(std::size_t index) const { return impl_->shards_.loop(index); }

}  // namespace weir
