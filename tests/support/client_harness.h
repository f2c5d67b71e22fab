// A TcpClient on a loop of this thread with a fault table under it. Every event is counted; a test
// adds what it wants done in `on`. [loop]
//
//   ClientHarness tcp({.connect_timeout = 1s});
//   ASSERT_TRUE(tcp.client->connect(address));
//   ASSERT_TRUE(tcp.until([&] { return tcp.calls.open == 1; }));
#pragma once

#include <gtest/gtest.h>

#include <functional>
#include <optional>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "support/fault_table.h"
#include "support/loops.h"
#include "weir/net/tcp/tcp_client.h"

namespace weir::test {

class ClientHarness {
 public:
  struct Events {
    std::function<void(TcpConnection&)> open;
    std::function<void(TcpConnection&, Buffer&)> data;  // without it input is added to `received`
    std::function<void(TcpConnection&)> half_close;
    std::function<void(TcpConnection&, CloseReason)> close;
    std::function<void(const Error&, int)> connect_error;
  };
  struct Calls {
    int open = 0;
    int data = 0;
    int half_close = 0;
    int close = 0;
    int connect_error = 0;
  };

  explicit ClientHarness(TcpClient::Options options = {}) {
    client.emplace(loop, std::move(options));
    client->on_open([this](TcpConnection& c) {
      ++calls.open;
      if (on.open) on.open(c);
    });
    client->on_data([this](TcpConnection& c, Buffer& in) {
      ++calls.data;
      if (on.data) {
        on.data(c, in);
      } else {
        received += in.take();
      }
    });
    client->on_half_close([this](TcpConnection& c) {
      ++calls.half_close;
      if (on.half_close) on.half_close(c);
    });
    client->on_close([this](TcpConnection& c, CloseReason why) {
      ++calls.close;
      reason = why;
      if (on.close) on.close(c, why);
    });
    client->on_connect_error([this](const Error& error, int attempt) {
      ++calls.connect_error;
      errors.push_back(error);
      attempts.push_back(attempt);
      if (on.connect_error) on.connect_error(error, attempt);
    });
  }
  ~ClientHarness() { client.reset(); }
  ClientHarness(const ClientHarness&) = delete;
  ClientHarness& operator=(const ClientHarness&) = delete;

  [[nodiscard]] bool until(const std::function<bool()>& done, Duration deadline = kDeadline) {
    return run_until(loop, done, deadline);
  }
  // Until an attempt has come to an end, one way or the other.
  [[nodiscard]] bool until_told(int outcomes = 1, Duration deadline = kDeadline) {
    return until([&] { return calls.open + calls.connect_error >= outcomes; }, deadline);
  }
  void turns(int n) {
    for (int i = 0; i < n; ++i) run_turn(loop);
  }
  // The loop would sleep for ever: no timer, no deadline, nothing to do at once.
  [[nodiscard]] bool nothing_pending() {
    turns(2);
    const std::uint64_t waits = faults.waits();
    std::thread stopper([&] {
      EXPECT_TRUE(wait_until([&] { return faults.waits() > waits; }));
      loop.stop();
    });
    loop.run();
    stopper.join();
    return faults.last_timeout() < Duration::zero();
  }

  FaultTable faults;
  ScopedFaults use{faults};
  EventLoop loop;
  std::optional<TcpClient> client;

  Events on;
  Calls calls;
  std::string received;
  std::vector<Error> errors;  // of all attempts that failed
  std::vector<int> attempts;
  std::optional<CloseReason> reason;  // of the last on_close
};

}  // namespace weir::test
