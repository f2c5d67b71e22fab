#include "weir/net/tcp/tcp_server.h"

#include <sys/resource.h>

#include <algorithm>
#include <limits>
#include <new>
#include <optional>
#include <string>
#include <utility>

#include "weir/base/log.h"
#include "weir/net/reactor/run_on.h"
#include "weir/net/stream/internal/connection_limits.h"
#include "weir/net/tcp/tcp_server_impl.h"

namespace weir {

using internal::Acceptor;
using internal::ConnectionGroup;
using internal::Listener;
using internal::run_on;
using internal::Shard;
using internal::try_run_on;

namespace {

// Descriptors left for everything but connections.
constexpr std::size_t kDescriptorReserve = 64;

// A loop may have so many connections more than another, or this part of its own (5 %).
constexpr std::size_t kUnevenAtLeast = 8;
constexpr std::size_t kUnevenPart = 20;

std::size_t connection_limit(std::size_t wanted) {
  rlimit files{};
  std::size_t limit = std::numeric_limits<std::size_t>::max();
  if (getrlimit(RLIMIT_NOFILE, &files) == 0 && files.rlim_cur != RLIM_INFINITY) {
    limit = files.rlim_cur - std::min<std::size_t>(kDescriptorReserve, files.rlim_cur / 4);
  }
  return wanted == 0 ? limit : std::min(wanted, limit);
}

}  // namespace

internal::Arrival::Arrival(Shard& to, Fd fd, PeerPlace place, std::shared_ptr<OpenCount> open_count)
    : to_(to.shared_from_this()),
      fd_(std::move(fd)),
      place_(std::move(place)),
      open_count_(std::move(open_count)) {
  to_->coming.fetch_add(1, std::memory_order_relaxed);
}

internal::Arrival::~Arrival() {
  if (!open_count_) return;
  to_->coming.fetch_sub(1, std::memory_order_relaxed);
  open_count_->open.fetch_sub(1, std::memory_order_relaxed);
}

void internal::Arrival::adopt() {
  if (!to_->group) return;  // destroyed meanwhile
  open_count_.reset();
  to_->group->adopt(std::move(fd_), std::move(place_));
  to_->coming.fetch_sub(1, std::memory_order_relaxed);
}

TcpServer::Impl::Impl(EventLoop& loop, Options options)
    : loop_(loop),
      options_(options),
      connection_limit_(connection_limit(options.max_connections)),
      peers_(options.max_connections_per_peer > 0
                 ? std::make_shared<internal::PeerCounts>(options.max_connections_per_peer)
                 : nullptr),
      accept_rate_(options.max_accept_rate > 0
                       ? std::make_unique<internal::AcceptRate>(options.max_accept_rate)
                       : nullptr) {
  WEIR_CHECK(options.pool == nullptr || options.threads == 0,
             "TcpServer with both a pool and threads of its own");
}

// --- starting ------------------------------------------------------------------------------------

Result<void> TcpServer::Impl::start() {
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
      shards_.push_back(std::make_shared<Shard>(pool_->loop(i)));
    }
  } else {
    shards_.push_back(std::make_shared<Shard>(loop_));
  }
  if (!handler_) handler_ = callbacks_;
  try {
    for (const auto& shard : shards_) {
      run_on(shard->loop, [&] { make_group(*shard); });
    }
  } catch (...) {  // the factory's
    undo_start();
    throw;
  }
  for (const auto& shard : shards_) {
    const ConnectionGroup& group = *shard->group;
    if (auto fits = internal::check_longest_message(*group.handler, group.limits); !fits) {
      undo_start();
      return std::unexpected(fits.error().within("TcpServer"));
    }
  }
  return {};
}

// As if nothing had happened.
void TcpServer::Impl::undo_start() {
  for (const auto& shard : shards_) {
    try_run_on(shard->loop, [&] { shard->group.reset(); });
  }
  shards_.clear();
  pool_ = nullptr;
  own_pool_.reset();
}

void TcpServer::Impl::make_group(Shard& shard) {
  auto handler = factory_ ? factory_(shard.loop) : handler_;
  WEIR_CHECK(handler != nullptr, "TcpServer::handlers_per_loop: the factory returned no handler");
  auto limits = internal::limits_of(options_);
  limits.max_buffered = options_.max_buffered_per_loop;
  shard.group =
      std::make_shared<ConnectionGroup>(shard.loop, limits, std::move(handler), open_count_);
}

// What of the server's options a socket has, for each address the same.
ListenOptions TcpServer::Impl::listen_options() const {
  return {.v6_only = options_.v6_only,
          .nodelay = options_.nodelay,
          .keep_alive = options_.keep_alive,
          .user_timeout = options_.user_timeout,
          .receive_buffer = options_.receive_buffer,
          .send_buffer = options_.send_buffer,
          .notsent_lowat = options_.notsent_lowat,
          .unix_mode = options_.unix_mode};
}

Result<std::shared_ptr<ListeningSocket>> TcpServer::Impl::open_socket(const SocketAddress& address,
                                                                      bool reuse_port) {
  // Said once, not for each address and loop.
  const int most = max_backlog();
  const int backlog = backlog_warned_ ? std::min(options_.backlog, most) : options_.backlog;
  ListenOptions options = listen_options();
  options.backlog = backlog;
  options.reuse_port = reuse_port;
  auto socket = ListeningSocket::open(address, options);
  if (!socket) return std::unexpected(std::move(socket.error()));
  backlog_warned_ = backlog_warned_ || options_.backlog > most;
  return std::make_shared<ListeningSocket>(std::move(*socket));
}

Result<SocketAddress> TcpServer::Impl::listen(const SocketAddress& address) {
  loop_.check_thread("TcpServer::listen");
  if (phase_ != Phase::serving) {
    return std::unexpected(
        Error("listen on " + address.to_string() + ": the server was shut down"));
  }
  if (auto started = start(); !started) return std::unexpected(std::move(started.error()));
  // Several sockets cannot be bound to one Unix address; the loops share one instead.
  const bool many = options_.accept == AcceptMode::reuse_port && address.is_ip();
  auto first = open_socket(address, many);
  if (!first) return std::unexpected(std::move(first.error()));
  const SocketAddress bound = (*first)->address();
  if (pool_ == nullptr) {
    const bool exclusive = options_.accept == AcceptMode::exclusive;
    add_listener(loop_, std::move(*first), exclusive, shards_.front().get());
  } else if (options_.accept == AcceptMode::single) {
    add_listener(loop_, std::move(*first), false, nullptr);
  } else {
    std::vector<std::shared_ptr<ListeningSocket>> sockets(shards_.size(), *first);
    for (std::size_t i = 1; many && i < sockets.size(); ++i) {
      auto more = open_socket(bound, true);
      if (!more) return std::unexpected(std::move(more.error()));
      sockets[i] = std::move(*more);
    }
    for (std::size_t i = 0; i < shards_.size(); ++i) {
      add_listener(shards_[i]->loop, std::move(sockets[i]), !many, shards_[i].get());
    }
  }
  return bound;
}

void TcpServer::Impl::add_listener(EventLoop& loop, std::shared_ptr<ListeningSocket> socket,
                                   bool exclusive, Shard* shard) {
  const bool handshakes = socket->address().is_ip() && !socket->lent();
  const SocketAddress address = socket->address();
  std::weak_ptr<ListeningSocket> kept = socket;
  std::shared_ptr<Acceptor> acceptor;
  run_on(loop, [&] {
    acceptor = std::make_shared<Acceptor>(
        loop, std::move(socket),
        Acceptor::Options{
            .trigger = options_.trigger, .exclusive = exclusive, .rate = accept_rate_.get()},
        [this, shard, exclusive](Fd fd) { accepted(shard, exclusive, std::move(fd)); });
    if (!accepting_) acceptor->hold();
  });
  const std::lock_guard lock(listeners_mutex_);
  listeners_.push_back({loop, handshakes, std::move(acceptor), std::move(kept), address});
}

// The emptiest loop, if `wanted` has many more connections. Neither turns nor who is idle keeps
// loops even: connections end on some of them, and the kernel wakes the same idle loop each time.
// [any]
Shard& TcpServer::Impl::even_out(Shard& wanted) {
  if (shards_.size() == 1) return wanted;
  const auto& emptiest = *std::ranges::min_element(
      shards_, {}, [](const std::shared_ptr<Shard>& shard) { return shard->load(); });
  const std::size_t load = wanted.load();
  const std::size_t allowed = std::max(kUnevenAtLeast, load / kUnevenPart);
  return load > emptiest->load() + allowed ? *emptiest : wanted;
}

// Takes a connection's places among those of the server and of its peer; none: there are no more.
std::optional<internal::PeerPlace> TcpServer::Impl::admit(int fd) {
  std::optional<internal::PeerPlace> place(std::in_place);
  if (peers_) place = peers_->enter(internal::peer_address_of(fd));
  if (!place) {
    refused_per_peer_.fetch_add(1, std::memory_order_relaxed);
    WEIR_LOG_LIMITED(warn, 1, "{} has {} connections, the most allowed: refusing more",
                     internal::peer_address_of(fd).ip(), options_.max_connections_per_peer);
    return std::nullopt;
  }
  if (open_count_->open.fetch_add(1, std::memory_order_relaxed) >= connection_limit_) {
    open_count_->open.fetch_sub(1, std::memory_order_relaxed);
    refused_.fetch_add(1, std::memory_order_relaxed);
    WEIR_LOG_LIMITED(warn, 1, "{} connections are open, the most allowed: refusing more",
                     connection_limit_);
    return std::nullopt;
  }
  return place;
}

// On the acceptor's loop. `shard`: that loop's, where the connection is to live, unless it
// `may_move`; null: the next one in turn.
void TcpServer::Impl::accepted(Shard* shard, bool may_move, Fd fd) {
  auto place = admit(fd.get());
  if (!place) return;
  Shard& wanted = shard != nullptr ? *shard : *shards_[next_shard_++ % shards_.size()];
  Shard& target = shard == nullptr || may_move ? even_out(wanted) : wanted;
  if (&target == shard) {
    shard->group->adopt(std::move(fd), std::move(*place));
    return;
  }
  hand_over(target, std::move(fd), std::move(*place));
}

// Of a connection that was admitted.
bool TcpServer::Impl::hand_over(Shard& target, Fd fd, internal::PeerPlace place) {
  try {
    return target.loop.post(
        [arrival = internal::Arrival(target, std::move(fd), std::move(place),
                                     open_count_)]() mutable { arrival.adopt(); });
  } catch (const std::bad_alloc&) {
    WEIR_LOG_LIMITED(error, 1, "no memory to hand a connection over: it is closed");
    return false;
  }
}

void TcpServer::Impl::for_each_connection(std::function<void(TcpConnection&)> fn,
                                          std::move_only_function<void()> done) {
  struct Walk {
    std::function<void(TcpConnection&)> fn;
    std::move_only_function<void()> done;
    std::atomic<std::size_t> loops;
  };
  auto walk = std::make_shared<Walk>(std::move(fn), std::move(done), shards_.size());
  const auto end = [&home = loop_, self = weak_from_this()](const std::shared_ptr<Walk>& over) {
    if (!over->done) return;
    home.post([self, over] {
      const auto server = self.lock();
      if (server && server->phase_ != Phase::destroyed) over->done();
    });
  };
  if (shards_.empty()) end(walk);
  for (const auto& shard : shards_) {
    shard->loop.post([walk, end, group = shard->group] {
      group->for_each(walk->fn);
      if (walk->loops.fetch_sub(1) == 1) end(walk);
    });
  }
}

TcpServer::Stats TcpServer::Impl::stats() const {
  const std::lock_guard lock(listeners_mutex_);
  Stats sum = closed_listeners_;
  sum.connections = open_count_->open.load(std::memory_order_relaxed);
  sum.accepted += adopted_.load(std::memory_order_relaxed);
  sum.refused = refused_.load(std::memory_order_relaxed);
  sum.refused_per_peer = refused_per_peer_.load(std::memory_order_relaxed);
  const Listener* told = nullptr;
  for (const Listener& listener : listeners_) {
    if (told == nullptr || !listener.same_socket(*told)) {
      if (auto queue = listener.acceptor->queue()) {
        told = &listener;
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

TcpServer::Stats operator-(TcpServer::Stats later, const TcpServer::Stats& earlier) {
  later.accepted -= earlier.accepted;
  later.refused -= earlier.refused;
  later.refused_per_peer -= earlier.refused_per_peer;
  later.shed -= earlier.shed;
  later.accept_errors -= earlier.accept_errors;
  later.accept_back_offs -= earlier.accept_back_offs;
  later.accept_rate_pauses -= earlier.accept_rate_pauses;
  later.over_budget -= earlier.over_budget;
  later.starved -= earlier.starved;
  later.bytes_in -= earlier.bytes_in;
  later.bytes_out -= earlier.bytes_out;
  for (std::size_t kind = 0; kind < later.closed.size(); ++kind) {
    later.closed[kind] -= earlier.closed[kind];
  }
  return later;
}

// --- the public face -----------------------------------------------------------------------------

TcpServer::TcpServer(EventLoop& loop, Options options)
    : impl_(std::make_shared<Impl>(loop, options)) {
  loop.check_thread("TcpServer::TcpServer");
}

TcpServer::~TcpServer() {
  impl_->destroy();
  impl_->loop_.keep_until_reaped(std::move(impl_));  // an acceptor's sink may be running
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
  static_cast<void>(impl_->callbacks());  // the same conditions hold
  impl_->handler_ = std::move(handler);
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
  if (impl_->loop_.in_loop_thread()) {
    impl_->shutdown(how, std::move(done));
    return;
  }
  impl_->loop_.post([self = std::weak_ptr(impl_), how, done = std::move(done)]() mutable {
    if (auto impl = self.lock()) impl->shutdown(how, std::move(done));
  });
}

void TcpServer::for_each_connection(std::function<void(TcpConnection&)> fn,
                                    std::move_only_function<void()> done) {
  impl_->for_each_connection(std::move(fn), std::move(done));
}

std::size_t TcpServer::connection_count() const {
  return impl_->open_count_->open.load(std::memory_order_relaxed);
}

TcpServer::Stats TcpServer::stats() const { return impl_->stats(); }

std::size_t TcpServer::loop_count() const { return impl_->shards_.size(); }

EventLoop& TcpServer::loop(std::size_t index) const {
  WEIR_CHECK(index < impl_->shards_.size(), "TcpServer::loop({}) of {}", index,
             impl_->shards_.size());
  return impl_->shards_[index]->loop;
}

}  // namespace weir
