// Sockets that come from elsewhere, listening ones and connections, and those that go to another
// process.
#include <algorithm>
#include <cerrno>
#include <string>
#include <utility>

#include "weir/net/tcp/tcp_server_impl.h"

namespace weir {

Result<std::vector<SocketAddress>> TcpServer::Impl::adopt(std::vector<ListeningSocket> sockets) {
  loop_.check_thread("TcpServer::listen");
  for (const ListeningSocket& socket : sockets) {
    WEIR_CHECK(socket.fd() >= 0, "TcpServer::listen with a ListeningSocket that is closed");
  }
  if (phase_ != Phase::serving) return std::unexpected(Error("listen: the server was shut down"));
  if (auto started = start(); !started) return std::unexpected(std::move(started.error()));
  const auto sockets_of = [&sockets](const SocketAddress& address) {
    return static_cast<std::size_t>(
        std::ranges::count(sockets, address, &ListeningSocket::address));
  };
  // Asked before the first is moved away.
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
  if (pool_ == nullptr) {
    const bool exclusive = options_.accept == AcceptMode::exclusive;
    add_listener(loop_, std::move(socket), exclusive, shards_.front().get());
  } else if (options_.accept == AcceptMode::single) {
    add_listener(loop_, std::move(socket), false, nullptr);
  } else if (by_all_loops) {
    for (const auto& shard : shards_) add_listener(shard->loop, socket, true, shard.get());
  } else {
    internal::Shard& shard = *shards_[next_shard_++ % shards_.size()];
    add_listener(shard.loop, std::move(socket), false, &shard);
  }
}

void TcpServer::Impl::set_accepting(bool on) {
  loop_.check_thread(on ? "TcpServer::resume_accepting" : "TcpServer::pause_accepting");
  accepting_ = on;
  for (const internal::Listener& listener : listeners_) {
    listener.loop.dispatch(
        [acceptor = listener.acceptor, on] { on ? acceptor->go_on() : acceptor->hold(); });
  }
}

Result<void> TcpServer::Impl::adopt(Fd connection) {
  loop_.check_thread("TcpServer::adopt");
  const auto refused = [](std::string why) {
    return std::unexpected(Error("adopt a connection: " + std::move(why)));
  };
  if (phase_ != Phase::serving) return refused("the server was shut down");
  auto socket = Socket::adopt(std::move(connection));
  if (!socket) return std::unexpected(socket.error().within("adopt a connection"));
  if (auto started = start(); !started) return std::unexpected(std::move(started.error()));
  if (socket->local_address().is_ip()) {
    internal::tune_stream(*socket, listen_options(), "adopt a connection");
  }
  adopted_.fetch_add(1, std::memory_order_relaxed);
  auto place = admit(socket->fd());
  if (!place) return refused("there are as many as may be");
  internal::Shard& target = even_out(*shards_[next_shard_++ % shards_.size()]);
  if (!hand_over(target, socket->take_fd(), std::move(*place))) return refused("no memory");
  return {};
}

Result<std::vector<ListenerShare>> TcpServer::Impl::duplicate_listeners() const {
  loop_.check_thread("TcpServer::duplicate_listeners");
  // What is shut down refuses connections by means that a duplicate would share.
  if (phase_ != Phase::serving) {
    return std::unexpected(Error("duplicate listeners: the server was shut down"));
  }
  std::vector<std::shared_ptr<ListeningSocket>> sockets;
  for (const internal::Listener& listener : listeners_) {
    auto socket = listener.socket.lock();  // null: it broke, and its acceptor closed it
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
