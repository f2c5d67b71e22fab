// Listening and connected sockets without a loop, and waiting for them with a deadline. [any]
#pragma once

#include <gtest/gtest.h>
#include <poll.h>
#include <sys/socket.h>

#include <cerrno>
#include <span>
#include <string>
#include <string_view>
#include <utility>

#include "weir/net/socket/listening_socket.h"
#include "weir/net/socket/socket.h"
#include "weir/net/socket/socket_address.h"
#include "weir/net/sys/sys.h"

namespace weir::test {

template <typename T>
Errno errno_of(const SysResult<T>& result) {
  return result ? Errno() : result.error();
}

// Waits for any of `events`; false after the deadline.
inline bool wait_for(int fd, short events, int deadline_ms = 5000) {
  pollfd item{.fd = fd, .events = events, .revents = 0};
  int ready = 0;
  do {
    ready = ::poll(&item, 1, deadline_ms);
  } while (ready < 0 && errno == EINTR);
  return ready == 1;
}

inline std::span<const std::byte> bytes_of(std::string_view text) {
  return std::as_bytes(std::span(text.data(), text.size()));
}

inline ListeningSocket listen_on(std::string_view text, const ListenOptions& options = {}) {
  const auto address = SocketAddress::parse(text);
  if (!address) {
    ADD_FAILURE() << address.error().message();
    return {};
  }
  auto listener = ListeningSocket::open(*address, options);
  if (!listener) {
    ADD_FAILURE() << listener.error().message();
    return {};
  }
  return std::move(*listener);
}

// A socket that is connected to `address`, or on its way there.
inline Socket connect_to(const SocketAddress& address) {
  auto socket = Socket::stream(address.family());
  if (!socket) {
    ADD_FAILURE() << socket.error().name();
    return {};
  }
  const auto done = socket->connect(address);
  if (!done && done.error() != EINPROGRESS) ADD_FAILURE() << done.error().name();
  return std::move(*socket);
}

inline Socket accept_from(ListeningSocket& listener) {
  if (!wait_for(listener.fd(), POLLIN)) {
    ADD_FAILURE() << "nobody came";
    return {};
  }
  auto accepted = listener.socket().accept();
  if (!accepted) {
    ADD_FAILURE() << accepted.error().name();
    return {};
  }
  return std::move(*accepted);
}

struct Pair {
  Socket client;
  Socket server;
};

inline Pair connected_pair(std::string_view listen_text = "127.0.0.1:0") {
  auto listener = listen_on(listen_text);
  Pair pair;
  pair.client = connect_to(listener.address());
  pair.server = accept_from(listener);
  EXPECT_TRUE(wait_for(pair.client.fd(), POLLOUT));
  EXPECT_EQ(pair.client.error(), 0);
  return pair;
}

inline SocketAddress path_address(const std::string& path) {
  const auto address = SocketAddress::from_unix_path(path);
  EXPECT_TRUE(address);
  return address ? *address : SocketAddress();
}

// The error of listening on `address`, which must fail.
inline Error refused(const SocketAddress& address, const ListenOptions& options = {}) {
  const auto listener = ListeningSocket::open(address, options);
  if (listener) {
    ADD_FAILURE() << address.to_string() << " was listened on";
    return Error("none");
  }
  EXPECT_TRUE(listener.error().message().starts_with("listen on " + address.to_string() + ": "))
      << listener.error().message();
  return listener.error();
}

inline bool has_ipv6() {
  auto socket = Socket::stream(SocketAddress::Family::ipv6);
  return socket && socket->bind(SocketAddress::loopback_ipv6(0));
}

inline int option(int fd, int level, int name) {
  int value = -1;
  socklen_t length = sizeof(value);
  EXPECT_TRUE(internal::sys::getsockopt(fd, level, name, &value, &length));
  return value;
}

// Closes `socket` with a reset.
inline void reset_by(Socket& socket) {
  EXPECT_TRUE(socket.set_linger(std::chrono::seconds(0)));
  socket.close();
}

}  // namespace weir::test
