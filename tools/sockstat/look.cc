#include "sockstat/look.h"

#include <algorithm>
#include <cerrno>
#include <tuple>
#include <unordered_map>
#include <unordered_set>
#include <vector>

#include "sockstat/proc_files.h"

namespace weir::sockstat {

namespace {

constexpr std::uint32_t bit(State state) { return 1U << static_cast<unsigned>(state); }
// Since Linux 6.8 this bit selects sockets that are bound and neither connected nor listening,
// which the kernel reports as CLOSED; the bit of State::closed itself finds none.
constexpr std::uint32_t kBoundInactive = 1U << 13;
constexpr std::uint32_t kAll = ((1U << (kStates + 1)) - 2) | kBoundInactive;
constexpr std::uint32_t kListening = bit(State::listen);

// A TCP listener: one that is shown, or one that gets connections instead of those.
struct Rival {
  Endpoint endpoint;
  bool v6_only = false;
  std::optional<std::size_t> shown;  // its index in Look::listeners
};

// The priority of a listener for connections to `local`, as in the kernel: its exact address before
// a wildcard, then an IPv4 socket before an IPv6 socket that takes both, and a socket that is bound
// to the device before one that is not. 0: it does not get them.
int nearness(const Rival& rival, const Endpoint& local) {
  const Endpoint own = rival.endpoint.without_v4_mapping();
  const Endpoint to = local.without_v4_mapping();
  const std::uint32_t device = rival.endpoint.interface;
  if (own.port != to.port || (device != 0 && device != local.interface)) return 0;
  const int of_kind = 1 + (rival.endpoint.v6 ? 0 : 1) + (device != 0 ? 1 : 0);
  if (own.v6 == to.v6 && own.bytes == to.bytes) return 4 + of_kind;
  if (!own.is_any() || (to.v6 && !own.v6) || (!to.v6 && rival.v6_only)) return 0;
  return of_kind;
}

// Builds one Look. Listeners come first, because the assignment of connections to a process needs
// them.
class Gathering {
 public:
  Gathering(const Selection& selection, std::unordered_set<std::uint32_t> inodes)
      : selection_(selection), inodes_(std::move(inodes)) {}

  void listener(const TcpSocket& socket) {
    if (selection_.port && socket.local.port != *selection_.port) return;
    Rival& rival = rivals_[socket.local.port].emplace_back(
        Rival{.endpoint = socket.local, .v6_only = socket.v6_only, .shown = {}});
    if (selection_.pid && !inodes_.contains(socket.inode)) return;
    rival.shown = look_.listeners.size();
    count(socket.state);
    look_.listeners.push_back({.address = socket.local.text(),
                               .endpoint = socket.local,
                               .queue = socket.receive_queue,
                               .limit = socket.send_queue,
                               .drops = socket.drops,
                               .uid = socket.uid.value_or(0),
                               .inode = socket.inode});
  }

  void connection(const TcpSocket& socket) {
    if (!selected(socket)) return;
    count(socket.state);
    if (socket.state == State::syn_recv) {
      for (const std::size_t i : takers(socket.local)) ++look_.listeners[i].half_open;
    }
    if (selection_.connections) look_.connections.push_back(socket);
  }

  void unix_socket(const UnixSocket& socket) {
    if (selection_.pid && !inodes_.contains(socket.inode)) return;
    if (socket.state == UnixSocket::State::listening) {
      look_.listeners.push_back({.address = socket.text(),
                                 .endpoint = {},
                                 .tcp = false,
                                 .queue = socket.receive_queue,
                                 .limit = socket.send_queue,
                                 .drops = {},
                                 .uid = socket.uid,
                                 .inode = socket.inode});
    } else if (socket.state == UnixSocket::State::connected) {
      ++unix_connected_;
      if (selection_.connections) look_.unix_connections.push_back(socket);
    }
  }

  // Call it after unix_socket() was called for all sockets.
  void no_more_unix_sockets() { look_.unix_connected = unix_connected_; }

  Look take() {
    std::ranges::sort(look_.listeners, {}, [](const Listener& listener) {
      return std::tuple(!listener.tcp, listener.endpoint.port, listener.address, listener.inode);
    });
    std::ranges::sort(look_.connections, {}, [](const TcpSocket& socket) {
      const auto order = std::ranges::find(kAllStates, socket.state) - kAllStates.begin();
      return std::tuple(order, socket.local.port, socket.peer.port, socket.local.bytes,
                        socket.peer.bytes);
    });
    std::ranges::sort(look_.unix_connections, {}, &UnixSocket::inode);
    return std::move(look_);
  }

 private:
  // For a process: the sockets that it has open, and the connections of its listeners that no
  // program has: not accepted yet, or closed and finished by the kernel.
  bool selected(const TcpSocket& socket) const {
    if (selection_.port) {
      return socket.local.port == *selection_.port ||
             (selection_.both_ends && socket.peer.port == *selection_.port);
    }
    if (!selection_.pid) return true;
    if (socket.inode != 0) return inodes_.contains(socket.inode);
    return !takers(socket.local).empty();
  }

  // The indexes of the shown listeners that get connections to `local`: none, one, or all that
  // share an address.
  std::vector<std::size_t> takers(const Endpoint& local) const {
    const auto rivals = rivals_.find(local.port);
    if (rivals == rivals_.end()) return {};
    int nearest = 1;
    std::vector<std::size_t> found;
    for (const Rival& rival : rivals->second) {
      const int near = nearness(rival, local);
      if (near > nearest) found.clear();
      nearest = std::max(near, nearest);
      if (near == nearest && rival.shown) found.push_back(*rival.shown);
    }
    return found;
  }

  void count(State state) { ++look_.states[static_cast<std::size_t>(state)]; }

  const Selection& selection_;
  const std::unordered_set<std::uint32_t> inodes_;
  std::unordered_map<std::uint16_t, std::vector<Rival>> rivals_;  // by port
  std::uint64_t unix_connected_ = 0;
  Look look_;
};

Result<std::unordered_set<std::uint32_t>> inodes_of(const Selection& selection) {
  if (!selection.pid) return {};
  return sockets_of(*selection.pid);
}

}  // namespace

Result<Look> look(SocketSource& kernel, const Selection& selection) {
  auto inodes = inodes_of(selection);
  if (!inodes) return std::unexpected(inodes.error());
  Gathering gathering(selection, std::move(*inodes));
  if (auto done =
          kernel.each_tcp({.states = kListening, .local_port = selection.port, .drops = true},
                          [&](const TcpSocket& socket) { gathering.listener(socket); });
      !done) {
    return std::unexpected(done.error());
  }
  // A query of the kernel can filter by the local port only.
  const auto local_port = selection.both_ends ? std::nullopt : selection.port;
  if (auto done = kernel.each_tcp({.states = kAll & ~kListening,
                                   .local_port = local_port,
                                   .details = selection.connections},
                                  [&](const TcpSocket& socket) { gathering.connection(socket); });
      !done) {
    return std::unexpected(done.error());
  }
  if (!selection.port) {
    auto done = kernel.each_unix([&](const UnixSocket& socket) { gathering.unix_socket(socket); });
    if (done) {
      gathering.no_more_unix_sockets();
    } else if (done.error().code() != ENOENT) {  // a kernel without unix_diag
      return std::unexpected(done.error());
    }
  }
  const auto host = host_counters();
  if (!host) return std::unexpected(host.error());
  Look result = gathering.take();
  result.at = std::chrono::system_clock::now();
  result.host = *host;
  result.somaxconn = read_somaxconn();
  return result;
}

}  // namespace weir::sockstat
