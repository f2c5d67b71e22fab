// The listeners of a server: listening on addresses and on existing sockets, pausing, closing one,
// and duplicates for another process.
#include <algorithm>
#include <string>
#include <utility>

#include "weir/net/tcp/tcp_server_impl.h"

namespace weir {

using internal::Acceptor;
using internal::Listener;
using internal::run_on;
using internal::TcpShard;

// --- opening -------------------------------------------------------------------------------------

// The options of the server that are options of each listening socket. The backlog and reuse_port
// are set by open_socket().
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
  // ListeningSocket::open() warns about a larger backlog. Once is enough for all addresses and
  // loops.
  const int limit = max_backlog();
  const int backlog = backlog_warned_ ? std::min(options_.backlog, limit) : options_.backlog;
  ListenOptions options = listen_options();
  options.backlog = backlog;
  options.reuse_port = reuse_port;
  auto socket = ListeningSocket::open(address, options);
  if (!socket) return std::unexpected(std::move(socket.error()));
  backlog_warned_ = backlog_warned_ || options_.backlog > limit;
  return std::make_shared<ListeningSocket>(std::move(*socket));
}

Result<SocketAddress> TcpServer::Impl::listen(const SocketAddress& address) {
  internal::core_of(loop_).check_thread("TcpServer::listen");
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
  if (!shards_.pooled()) {
    const bool exclusive = options_.accept == AcceptMode::exclusive;
    add_listener(loop_, std::move(*first), exclusive, &shards_[0]);
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
      add_listener(shards_[i].loop, std::move(sockets[i]), !many, &shards_[i]);
    }
  }
  return bound;
}

void TcpServer::Impl::add_listener(EventLoop& loop, std::shared_ptr<ListeningSocket> socket,
                                   bool exclusive, TcpShard* shard) {
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
  const internal::MutexLock lock(listeners_mutex_);
  listeners_.push_back({loop, handshakes, std::move(acceptor), std::move(kept), address});
}

Result<std::vector<SocketAddress>> TcpServer::Impl::adopt(std::vector<ListeningSocket> sockets) {
  internal::core_of(loop_).check_thread("TcpServer::listen");
  for (const ListeningSocket& socket : sockets) {
    WEIR_CHECK(socket.fd() >= 0, "TcpServer::listen with a ListeningSocket that is closed");
  }
  if (phase_ != Phase::serving) return std::unexpected(Error("listen: the server was shut down"));
  if (auto started = start(); !started) return std::unexpected(std::move(started.error()));
  const auto sockets_of = [&sockets](const SocketAddress& address) {
    return static_cast<std::size_t>(
        std::ranges::count(sockets, address, &ListeningSocket::address));
  };
  // Computed before the first socket is moved from.
  std::vector<SocketAddress> addresses;
  std::vector<bool> by_all_loops;
  for (const ListeningSocket& socket : sockets) {
    if (std::ranges::find(addresses, socket.address()) == addresses.end()) {
      addresses.push_back(socket.address());
    }
    by_all_loops.push_back(options_.accept == AcceptMode::exclusive ||
                           sockets_of(socket.address()) < shards_.size());
  }
  for (std::size_t i = 0; i < sockets.size(); ++i) {
    sockets[i].prepare_accepted(listen_options());
    adopt_one(std::make_shared<ListeningSocket>(std::move(sockets[i])), by_all_loops[i]);
  }
  return addresses;
}

void TcpServer::Impl::adopt_one(std::shared_ptr<ListeningSocket> socket, bool by_all_loops) {
  if (!shards_.pooled()) {
    const bool exclusive = options_.accept == AcceptMode::exclusive;
    add_listener(loop_, std::move(socket), exclusive, &shards_[0]);
  } else if (options_.accept == AcceptMode::single) {
    add_listener(loop_, std::move(socket), false, nullptr);
  } else if (by_all_loops) {
    for (const auto& shard : shards_) add_listener(shard->loop, socket, true, shard.get());
  } else {
    TcpShard& shard = shards_[next_shard_++ % shards_.size()];
    add_listener(shard.loop, std::move(socket), false, &shard);
  }
}

void TcpServer::Impl::set_accepting(bool on) {
  internal::core_of(loop_).check_thread(on ? "TcpServer::resume_accepting"
                                           : "TcpServer::pause_accepting");
  accepting_ = on;
  for (const internal::Listener& listener : listeners_) {
    listener.loop.dispatch(
        [acceptor = listener.acceptor, on] { on ? acceptor->go_on() : acceptor->hold(); });
  }
}

// --- closing one ---------------------------------------------------------------------------------

struct TcpServer::Impl::ClosingListener {
  std::vector<std::shared_ptr<Acceptor>> acceptors;
  std::size_t open = 0;  // acceptors that have not stopped yet
  std::move_only_function<void()> done;
};

Result<void> TcpServer::Impl::close_listener(const SocketAddress& address,
                                             std::move_only_function<void()> done) {
  internal::core_of(loop_).check_thread("TcpServer::close_listener");
  auto closing = std::make_shared<ClosingListener>();
  closing->done = std::move(done);
  bool handshakes = false;
  for (Listener& listener : listeners_) {
    if (listener.closing || listener.address != address) continue;
    listener.closing = true;
    handshakes = handshakes || listener.handshakes;
    closing->acceptors.push_back(listener.acceptor);
    listener.loop.dispatch([acceptor = listener.acceptor] { acceptor->refuse_new(); });
  }
  if (closing->acceptors.empty()) {
    return std::unexpected(
        Error("stop listening on " + address.to_string() + ": the server does not listen there"));
  }
  loop_.run_after(handshakes ? kLastHandshakes : Duration::zero(),
                  shards_.unless_destroyed([this, closing = std::move(closing)]() mutable {
                    stop_listener(std::move(closing));
                  }));
  return {};
}

void TcpServer::Impl::stop_listener(std::shared_ptr<ClosingListener> closing) {
  closing->open = closing->acceptors.size();
  for (const Listener& listener : listeners_) {
    if (std::ranges::find(closing->acceptors, listener.acceptor) == closing->acceptors.end()) {
      continue;
    }
    listener.loop.post(
        [acceptor = listener.acceptor,
         stopped = shards_.poster_home([this, closing] { listener_stopped(closing); })]() mutable {
          acceptor->stop();
          acceptor.reset();
          stopped();
        });
  }
}

void TcpServer::Impl::listener_stopped(const std::shared_ptr<ClosingListener>& closing) {
  if (--closing->open > 0) return;
  {
    const internal::MutexLock lock(listeners_mutex_);
    std::vector<Listener> others;
    for (Listener& listener : listeners_) {
      const auto& ended = closing->acceptors;
      if (std::ranges::find(ended, listener.acceptor) == ended.end()) {
        others.push_back(std::move(listener));
      } else {
        listener.add_counters(closed_listeners_);
      }
    }
    listeners_.swap(others);
  }
  if (closing->done) closing->done();
}

// --- for a successor -----------------------------------------------------------------------------

Result<std::vector<ListenerShare>> TcpServer::Impl::duplicate_listeners() const {
  internal::core_of(loop_).check_thread("TcpServer::duplicate_listeners");
  // A server that shuts down has attached a filter to the socket, which rejects new connections. A
  // duplicate would share it.
  if (phase_ != Phase::serving) {
    return std::unexpected(Error("duplicate listeners: the server was shut down"));
  }
  std::vector<std::shared_ptr<ListeningSocket>> sockets;
  for (const internal::Listener& listener : listeners_) {
    auto socket = listener.socket.lock();  // null: it failed, and its acceptor closed it
    if (socket && !listener.closing && std::ranges::find(sockets, socket) == sockets.end()) {
      sockets.push_back(std::move(socket));
    }
  }
  std::vector<ListenerShare> shares;
  for (const auto& socket : sockets) {
    auto fd = socket->duplicate();
    if (!fd) return std::unexpected(Error("duplicate listeners: fcntl", fd.error()));
    shares.push_back({.fd = std::move(*fd), .file = socket->file(), .lent = socket->lent()});
  }
  return shares;
}

}  // namespace weir
