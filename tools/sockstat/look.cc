#include "sockstat/look.h"

#include <algorithm>
#include <cerrno>
#include <tuple>
#include <unordered_set>

#include "sockstat/proc_files.h"

namespace weir::sockstat {

namespace {

constexpr std::uint32_t bit(State state) { return 1U << static_cast<unsigned>(state); }
// Since Linux 6.8 this bit means sockets that are bound and neither connected nor listening, which
// the kernel then calls CLOSED; State::closed as asked for finds none.
constexpr std::uint32_t kBoundInactive = 1U << 13;
constexpr std::uint32_t kAll = ((1U << (kStates + 1)) - 2) | kBoundInactive;
constexpr std::uint32_t kListening = bit(State::listen);

// Whether what arrives at `local` is for this listener.
bool leads_to(const Listener& listener, const Endpoint& local) {
  const Endpoint& own = listener.endpoint;
  if (!listener.tcp || own.port != local.port) return false;
  if (own.is_any()) return own.v6 || !local.without_v4_mapping().v6;
  return own.without_v4_mapping() == local.without_v4_mapping();
}

// Gathers one Look; listeners come first, because who belongs to a process hangs on them.
class Gathering {
 public:
  Gathering(const Selection& selection, std::unordered_set<std::uint32_t> inodes)
      : selection_(selection), inodes_(std::move(inodes)) {}

  void listener(const TcpSocket& socket) {
    if (selection_.port && socket.local.port != *selection_.port) return;
    if (selection_.pid && !inodes_.contains(socket.inode)) return;
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
    if (socket.state == State::syn_recv) half_open(socket.local);
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

  // All that there are have been shown to unix_socket().
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
  // Of a process: what it has open; and what no program has, if it came to one of its listeners:
  // connections that are not accepted yet, and those that the kernel sees to their end.
  bool selected(const TcpSocket& socket) const {
    if (selection_.port) {
      return socket.local.port == *selection_.port ||
             (selection_.both_ends && socket.peer.port == *selection_.port);
    }
    if (!selection_.pid) return true;
    if (socket.inode != 0) return inodes_.contains(socket.inode);
    return std::ranges::any_of(look_.listeners, [&](const Listener& listener) {
      return leads_to(listener, socket.local);
    });
  }

  void half_open(const Endpoint& local) {
    for (Listener& listener : look_.listeners) {
      if (leads_to(listener, local)) ++listener.half_open;
    }
  }

  void count(State state) { ++look_.states[static_cast<std::size_t>(state)]; }

  const Selection& selection_;
  const std::unordered_set<std::uint32_t> inodes_;
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
  // The kernel can be asked for one end only.
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
