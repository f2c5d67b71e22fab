// The handler of connections that tests use: counts every event, and checks that it comes on the
// connection's loop. A test sets in `on` what more it wants done. [loop]
//
//   CountedEvents at_client;
//   at_client.on.open = [](TcpConnection& c) { c.send("hello"); };
//   client.use_handler(at_client.unowned());
//   EXPECT_TRUE(run_until(loop, [&] { return at_client.received == "hello"; }));
#pragma once

#include <gtest/gtest.h>

#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "weir/net/reactor/event_loop.h"
#include "weir/net/stream/connection_handler.h"
#include "weir/net/stream/connection_ref.h"
#include "weir/net/stream/tcp_connection.h"

namespace weir::test {

class CountedEvents : public ConnectionHandler {
 public:
  // Each is called after the event was counted.
  struct Events {
    std::function<void(TcpConnection&)> open;
    std::function<void(TcpConnection&, Buffer&)> data;  // without it input is added to `received`
    std::function<void(TcpConnection&)> half_close;
    std::function<void(TcpConnection&)> blocked;
    std::function<void(TcpConnection&)> drained;
    std::function<bool(TcpConnection&, CloseReason::Kind)> timeout;
    std::function<void(TcpConnection&)> heartbeat;
    std::function<void(TcpConnection&, CloseReason)> close;
  };
  struct Calls {
    int open = 0;
    int data = 0;
    int half_close = 0;
    int blocked = 0;
    int drained = 0;
    int timeout = 0;
    int heartbeat = 0;
    int close = 0;
  };

  CountedEvents() = default;
  CountedEvents(const CountedEvents&) = delete;
  CountedEvents& operator=(const CountedEvents&) = delete;

  // For use_handler(): a pointer that owns nothing. This object must outlive the connections.
  std::shared_ptr<ConnectionHandler> unowned() { return {std::shared_ptr<void>(), this}; }

  // The connection that was opened last; null when it is gone. (Not inlined, or GCC warns of the
  // null wherever a test knows better.)
  [[gnu::noinline]] TcpConnection* connection() const {
    return refs.empty() ? nullptr : refs.back().get();
  }
  ConnectionRef ref() const { return refs.empty() ? ConnectionRef() : refs.back(); }

  Events on;
  Calls calls;
  std::string received;
  std::vector<ConnectionRef> refs;    // of all that were opened
  std::optional<CloseReason> reason;  // of the last on_close

  void on_open(TcpConnection& c) override {
    count(c, calls.open);
    refs.push_back(c.ref());
    if (on.open) on.open(c);
  }
  void on_data(TcpConnection& c, Buffer& in) override {
    count(c, calls.data);
    if (on.data) {
      on.data(c, in);
    } else {
      received += in.take();
    }
  }
  void on_half_close(TcpConnection& c) override {
    count(c, calls.half_close);
    if (on.half_close) on.half_close(c);
  }
  void on_blocked(TcpConnection& c) override {
    count(c, calls.blocked);
    if (on.blocked) on.blocked(c);
  }
  void on_drained(TcpConnection& c) override {
    count(c, calls.drained);
    if (on.drained) on.drained(c);
  }
  bool on_timeout(TcpConnection& c, CloseReason::Kind kind) override {
    count(c, calls.timeout);
    return on.timeout && on.timeout(c, kind);
  }
  void on_heartbeat(TcpConnection& c) override {
    count(c, calls.heartbeat);
    if (on.heartbeat) on.heartbeat(c);
  }
  void on_close(TcpConnection& c, CloseReason why) override {
    count(c, calls.close);
    reason = why;
    if (on.close) on.close(c, why);
  }

 private:
  static void count(const TcpConnection& c, int& calls) {
    EXPECT_TRUE(c.loop().in_loop_thread());
    ++calls;
  }
};

}  // namespace weir::test
