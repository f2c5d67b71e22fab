// Parts of reactor tests: a handler that calls functions, and pairs of sockets. [loop]
#pragma once

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/socket.h>
#include <unistd.h>

#include <array>
#include <cstdint>
#include <functional>
#include <string>
#include <string_view>
#include <utility>

#include "weir/base/fd.h"
#include "weir/net/reactor/channel.h"
#include "weir/net/reactor/event_loop.h"

namespace weir::test {

// Counts its calls, then calls the function that the test has set.
class TestHandler final : public IoHandler {
 public:
  TestHandler() = default;
  explicit TestHandler(std::function<void(std::uint32_t)> on_ready) : ready(std::move(on_ready)) {}

  std::function<void(std::uint32_t events)> ready;
  std::function<void(Errno error)> refused;
  int calls = 0;
  std::uint32_t last_events = 0;
  int refusals = 0;
  Errno last_error;

 private:
  void on_ready(std::uint32_t events) override {
    ++calls;
    last_events = events;
    if (ready) ready(events);
  }
  void on_interest_refused(Errno error) override {
    ++refusals;
    last_error = error;
    if (refused) refused(error);
  }
};

// Two connected, non-blocking Unix sockets.
struct SocketPair {
  Fd ours;
  Fd theirs;

  SocketPair() {
    std::array<int, 2> ends{-1, -1};
    const int type = SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK;
    if (::socketpair(AF_UNIX, type, 0, ends.data()) != 0) ADD_FAILURE() << "socketpair";
    ours.reset(ends[0]);
    theirs.reset(ends[1]);
  }
};

inline void put(const Fd& fd, std::string_view bytes = "x") {
  const auto sent = ::send(fd.get(), bytes.data(), bytes.size(), MSG_NOSIGNAL);
  EXPECT_EQ(sent, static_cast<ssize_t>(bytes.size()));
}

// The bytes that can be read now, at most 64 KiB; does not wait.
inline std::string take(const Fd& fd) {
  std::string bytes(65536, '\0');
  const auto got = ::recv(fd.get(), bytes.data(), bytes.size(), MSG_DONTWAIT);
  bytes.resize(got > 0 ? static_cast<std::size_t>(got) : 0);
  return bytes;
}

// A Channel on one end of a pair, and its handler.
struct Watched {
  SocketPair pair;
  TestHandler handler;
  Channel channel;

  explicit Watched(EventLoop& loop, Trigger trigger = Trigger::level)
      : channel(loop, pair.ours.get(), handler, trigger) {
    channel.set_reading(true);
  }
};

}  // namespace weir::test
