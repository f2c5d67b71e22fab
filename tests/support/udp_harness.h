// A UdpSocket on a LoopHarness, and plain datagram sockets that are its peers. Every event is
// counted; a test sets in `on` what more it wants done. [loop]
#pragma once

#include <gtest/gtest.h>
#include <poll.h>
#include <sys/socket.h>

#include <array>
#include <cstddef>
#include <functional>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "support/loop_harness.h"
#include "support/temp_files.h"
#include "weir/net/socket/socket.h"
#include "weir/net/udp/udp_socket.h"

namespace weir::test {

// A datagram socket without any of weir's machinery; waits for what it receives.
class UdpPeer {
 public:
  explicit UdpPeer(std::string_view where = "127.0.0.1:0") {
    const auto address = SocketAddress::parse(where);
    auto made = Socket::datagram(address->family());
    if (!made || !made->bind(*address)) {
      ADD_FAILURE() << "cannot bind to " << where;
      return;
    }
    socket_ = std::move(*made);
  }

  SocketAddress address() const { return socket_.local_address(); }
  int fd() const { return socket_.fd(); }
  void close() { socket_.close(); }

  bool send(const SocketAddress& to, std::string_view bytes) const {
    return ::sendto(fd(), bytes.data(), bytes.size(), MSG_NOSIGNAL, to.data(), to.size()) ==
           static_cast<ssize_t>(bytes.size());
  }
  // Nothing after `wait` milliseconds. `from`: the sender.
  std::optional<std::string> receive(int wait = 5000, SocketAddress* from = nullptr) const {
    pollfd ready{.fd = fd(), .events = POLLIN, .revents = 0};
    if (::poll(&ready, 1, wait) <= 0) return std::nullopt;
    std::string bytes(256 * 1024, '\0');
    sockaddr_storage name{};
    socklen_t length = sizeof(name);
    const ssize_t size = ::recvfrom(fd(), bytes.data(), bytes.size(), 0,
                                    reinterpret_cast<sockaddr*>(&name), &length);
    if (size < 0) return std::nullopt;
    if (from != nullptr) {
      *from = SocketAddress::from_sockaddr(reinterpret_cast<const sockaddr*>(&name), length);
    }
    bytes.resize(static_cast<std::size_t>(size));
    return bytes;
  }

 private:
  Socket socket_;
};

class UdpHarness : public LoopHarness {
 public:
  struct Events {
    std::function<void(UdpSocket&, std::span<const Datagram>)> datagrams;
    std::function<void(UdpSocket&, const FailedDatagram&)> send_failed;
    std::function<void(UdpSocket&)> drained;
    std::function<void(UdpSocket&, Errno)> error;
  };

  explicit UdpHarness(UdpSocket::Options options = {}, std::string_view where = "127.0.0.1:0") {
    make(options);
    if (where.empty()) return;
    auto bound = socket->bind(where);
    if (!bound) ADD_FAILURE() << bound.error().message();
    if (bound) address = *bound;
  }
  ~UdpHarness() {
    socket.reset();
    run_turn(loop);
  }

  void make(UdpSocket::Options options) {
    socket.emplace(loop, options);
    socket->on_datagrams([this](UdpSocket& udp, std::span<const Datagram> batch) {
      ++batches;
      for (const Datagram& one : batch) {
        received.emplace_back(one.text());
        truncated += one.truncated ? 1 : 0;
      }
      if (on.datagrams) on.datagrams(udp, batch);
    });
    socket->on_send_failed([this](UdpSocket& udp, const FailedDatagram& failure) {
      failures.push_back(failure);
      if (on.send_failed) on.send_failed(udp, failure);
    });
    socket->on_drained([this](UdpSocket& udp) {
      ++drained;
      if (on.drained) on.drained(udp);
    });
    socket->on_error([this](UdpSocket& udp, Errno error) {
      errors.push_back(error);
      if (on.error) on.error(udp, error);
    });
  }

  bool until_received(std::size_t count) {
    return until([&] { return received.size() >= count; });
  }

  Events on;
  std::optional<UdpSocket> socket;
  SocketAddress address;
  std::vector<std::string> received;
  std::vector<FailedDatagram> failures;
  std::vector<Errno> errors;
  int batches = 0;
  int truncated = 0;
  int drained = 0;
};

inline void echo_all(UdpSocket& udp, std::span<const Datagram> batch) {
  for (const Datagram& one : batch) udp.reply(one, one.payload);
}

}  // namespace weir::test
