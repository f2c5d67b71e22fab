// The path of a connection, accepted or adopted, to the loop on which it lives.
#include <algorithm>
#include <new>
#include <optional>
#include <string>
#include <utility>

#include "weir/base/log_line.h"
#include "weir/net/socket/stream_options.h"
#include "weir/net/tcp/tcp_server_impl.h"

namespace weir {

using internal::TcpShard;

namespace {

// A loop may have this number of connections more than another, or 1/kAllowedPart of its own (5 %),
// whichever is larger.
constexpr std::size_t kAllowedSurplus = 8;
constexpr std::size_t kAllowedPart = 20;

}  // namespace

internal::Arrival::Arrival(TcpShard& to, Fd fd, Seat seat)
    : to_(to.shared_from_this()), fd_(std::move(fd)), seat_(std::move(seat)) {
  to_->arriving.fetch_add(1, std::memory_order_relaxed);
}

internal::Arrival::~Arrival() {
  if (to_) to_->arriving.fetch_sub(1, std::memory_order_relaxed);
}

void internal::Arrival::adopt() {
  if (!to_->released) to_->group->adopt(std::move(fd_), std::move(seat_));
}

// Returns the loop with the fewest connections if `wanted` has many more, else `wanted`. Neither
// round robin nor EPOLLEXCLUSIVE keeps the loops even: more connections end on some loops than on
// others, and the kernel wakes the same idle loop each time. [any]
TcpShard& TcpServer::Impl::even_out(TcpShard& wanted) {
  if (shards_.size() == 1) return wanted;
  const auto& emptiest = *std::ranges::min_element(
      shards_, {}, [](const std::shared_ptr<TcpShard>& shard) { return shard->load(); });
  const std::size_t load = wanted.load();
  const std::size_t allowed = std::max(kAllowedSurplus, load / kAllowedPart);
  return load > emptiest->load() + allowed ? *emptiest : wanted;
}

// None: the connection exceeds max_connections_per_peer or max_connections.
std::optional<internal::Seat> TcpServer::Impl::admit(int fd) {
  std::optional<internal::PeerPlace> place(std::in_place);
  if (peers_) place = peers_->enter(internal::peer_address_of(fd));
  if (!place) {
    refused_per_peer_.fetch_add(1, std::memory_order_relaxed);
    WEIR_LOG_LIMITED(warn, 1, "{} has {} connections, the most allowed: refusing more",
                     internal::peer_address_of(fd).ip(), options_.max_connections_per_peer);
    return std::nullopt;
  }
  auto seat = internal::Seat::take(open_count_, connection_limit_, std::move(*place));
  if (!seat) {
    refused_.fetch_add(1, std::memory_order_relaxed);
    WEIR_LOG_LIMITED(warn, 1, "{} connections are open, the most allowed: refusing more",
                     connection_limit_);
  }
  return seat;
}

// Called on the acceptor's loop. `shard` is the shard of that loop: the connection stays there
// unless it `may_move`. Null: the shards take turns.
void TcpServer::Impl::accepted(TcpShard* shard, bool may_move, Fd fd) {
  auto seat = admit(fd.get());
  if (!seat) return;
  TcpShard& wanted = shard != nullptr ? *shard : shards_[next_shard_++ % shards_.size()];
  TcpShard& target = shard == nullptr || may_move ? even_out(wanted) : wanted;
  if (&target == shard) {
    shard->group->adopt(std::move(fd), std::move(*seat));
    return;
  }
  hand_over(target, std::move(fd), std::move(*seat));
}

// Hands an admitted connection over to another loop. False: no memory, or the loop has ended.
bool TcpServer::Impl::hand_over(TcpShard& target, Fd fd, internal::Seat seat) {
  try {
    return target.loop.post(
        [arrival = internal::Arrival(target, std::move(fd), std::move(seat))]() mutable {
          arrival.adopt();
        });
  } catch (const std::bad_alloc&) {
    WEIR_LOG_LIMITED(error, 1, "no memory to hand a connection over: it is closed");
    return false;
  }
}

Result<void> TcpServer::Impl::adopt(Fd connection) {
  internal::core_of(loop_).check_thread("TcpServer::adopt");
  const auto refused = [](std::string why) {
    return std::unexpected(Error("adopt a connection: " + std::move(why)));
  };
  if (phase_ != Phase::serving) return refused("the server was shut down");
  auto socket = Socket::adopt(std::move(connection));
  if (!socket) return std::unexpected(socket.error().within("adopt a connection"));
  if (auto started = start(); !started) return std::unexpected(std::move(started.error()));
  if (socket->local_address().is_ip()) {
    const auto stream = internal::stream_options_of(options_);
    internal::set_buffers(*socket, stream, "adopt a connection");
    internal::set_behaviour(*socket, stream, "adopt a connection");
  }
  adopted_.fetch_add(1, std::memory_order_relaxed);
  auto seat = admit(socket->fd());
  if (!seat) return refused("the limit of connections is reached");
  TcpShard& target = even_out(shards_[next_shard_++ % shards_.size()]);
  if (!hand_over(target, socket->take_fd(), std::move(*seat))) return refused("no memory");
  return {};
}

}  // namespace weir
