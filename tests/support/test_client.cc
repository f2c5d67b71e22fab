#include "support/test_client.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>
#include <limits>
#include <utility>

namespace weir::test {

TestClient::TestClient(TestClient&& other) noexcept { *this = std::move(other); }

TestClient& TestClient::operator=(TestClient&& other) noexcept {
  if (this == &other) return *this;
  close();
  fd_ = std::exchange(other.fd_, -1);
  send_buffer_ = other.send_buffer_;
  receive_buffer_ = other.receive_buffer_;
  local_ = other.local_;
  end_ = other.end_;
  return *this;
}

void TestClient::set_buffers(int send_bytes, int receive_bytes) {
  send_buffer_ = send_bytes;
  receive_buffer_ = receive_bytes;
}

bool TestClient::wait(short events, TimePoint end) const {
  for (;;) {
    const Duration left = std::max(end - Clock::now(), Duration::zero());
    const auto ms = std::chrono::ceil<std::chrono::milliseconds>(left).count();
    pollfd item{.fd = fd_, .events = events, .revents = 0};
    const int ready = ::poll(&item, 1, static_cast<int>(std::min<std::int64_t>(ms, 1'000'000)));
    if (ready > 0) return true;
    if (ready < 0 && errno != EINTR) return false;
    if (ready == 0 && Clock::now() >= end) return false;
  }
}

int TestClient::try_connect(const SocketAddress& server) {
  close();
  end_ = End::open;
  fd_ = ::socket(server.data()->sa_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
  if (fd_ < 0) return errno;
  const auto set = [this](int option, int value) {
    if (value > 0) ::setsockopt(fd_, SOL_SOCKET, option, &value, sizeof(value));
  };
  set(SO_SNDBUF, send_buffer_);
  set(SO_RCVBUF, receive_buffer_);
  // Each send leaves at once, and not with the acknowledgement of the one before. (An error for
  // Unix sockets.)
  constexpr int kOn = 1;
  ::setsockopt(fd_, IPPROTO_TCP, TCP_NODELAY, &kOn, sizeof(kOn));
  int error = 0;
  socklen_t length = sizeof(error);
  if (local_ && ::bind(fd_, local_->data(), local_->size()) < 0) {
    error = errno;
  } else if (::connect(fd_, server.data(), server.size()) < 0) {
    error = errno;
    if (error == EINPROGRESS) {
      error = ETIMEDOUT;
      if (wait(POLLOUT, Clock::now() + kTimeout)) {
        ::getsockopt(fd_, SOL_SOCKET, SO_ERROR, &error, &length);
      }
    }
  }
  if (error != 0) close();
  return error;
}

bool TestClient::connect(const SocketAddress& server) {
  const int error = try_connect(server);
  if (error == 0) return true;
  ADD_FAILURE() << "connect to " << server.to_string() << ": " << std::strerror(error);
  return false;
}

std::size_t TestClient::send_some(std::string_view bytes, Duration deadline) {
  const TimePoint end = saturating_add(Clock::now(), deadline);
  std::size_t sent = 0;
  while (sent < bytes.size()) {
    const ssize_t n = ::send(fd_, bytes.data() + sent, bytes.size() - sent, MSG_NOSIGNAL);
    if (n >= 0) {
      sent += static_cast<std::size_t>(n);
    } else if (errno == EAGAIN) {
      if (!wait(POLLOUT, end)) break;
    } else if (errno != EINTR) {
      break;
    }
  }
  return sent;
}

bool TestClient::send_all(std::string_view bytes, Duration deadline) {
  return send_some(bytes, deadline) == bytes.size();
}

bool TestClient::receive_into(std::string& into, std::size_t most, TimePoint end) {
  std::array<char, 65536> block;
  for (;;) {
    const ssize_t n = ::recv(fd_, block.data(), std::min(most, block.size()), 0);
    if (n > 0) {
      into.append(block.data(), static_cast<std::size_t>(n));
      return true;
    }
    if (n == 0) {
      end_ = End::eof;
      return false;
    }
    if (errno == EAGAIN) {
      if (!wait(POLLIN, end)) return false;
    } else if (errno != EINTR) {
      end_ = errno == ECONNRESET ? End::reset : End::other_error;
      return false;
    }
  }
}

std::string TestClient::receive_exactly(std::size_t n, Duration deadline) {
  const TimePoint end = saturating_add(Clock::now(), deadline);
  std::string result;
  while (result.size() < n && receive_into(result, n - result.size(), end)) {
  }
  return result;
}

std::string TestClient::receive_until_eof(Duration deadline) {
  return receive_exactly(std::numeric_limits<std::size_t>::max(), deadline);
}

std::string TestClient::receive_for(Duration time) { return receive_until_eof(time); }

TestClient::End TestClient::wait_for_end(Duration deadline) {
  static_cast<void>(receive_until_eof(deadline));
  return end_;
}

void TestClient::shutdown_write() { ::shutdown(fd_, SHUT_WR); }

void TestClient::reset() {
  const linger rude{.l_onoff = 1, .l_linger = 0};
  ::setsockopt(fd_, SOL_SOCKET, SO_LINGER, &rude, sizeof(rude));
  close();
}

void TestClient::close() {
  if (fd_ >= 0) ::close(std::exchange(fd_, -1));
}

SocketAddress TestClient::local_address() const {
  sockaddr_storage storage{};
  socklen_t length = sizeof(storage);
  auto* address = reinterpret_cast<sockaddr*>(&storage);
  if (::getsockname(fd_, address, &length) < 0) return {};
  return SocketAddress::from_sockaddr(address, length);
}

}  // namespace weir::test
