// A TcpClient on a LoopHarness, with CountedEvents as its handler. [loop]
//
//   ClientHarness tcp({.connect_timeout = 1s});
//   ASSERT_TRUE(tcp.client->connect(address));
//   ASSERT_TRUE(tcp.until([&] { return tcp.calls.open == 1; }));
#pragma once

#include <gtest/gtest.h>

#include <cstdint>
#include <functional>
#include <optional>
#include <thread>
#include <utility>
#include <vector>

#include "support/counted_events.h"
#include "support/loop_harness.h"
#include "weir/net/tcp/tcp_client.h"

namespace weir::test {

class ClientHarness : public LoopHarness, public CountedEvents {
 public:
  explicit ClientHarness(TcpClient::Options options = {}) {
    client.emplace(loop, std::move(options));
    client->use_handler(unowned());
    client->on_connect_error([this](const Error& error, int attempt) {
      ++connect_errors;
      errors.push_back(error);
      attempts.push_back(attempt);
      if (on_connect_error) on_connect_error(error, attempt);
    });
  }
  ~ClientHarness() override { client.reset(); }

  // Until `outcomes` attempts have succeeded or failed.
  [[nodiscard]] bool until_told(int outcomes = 1, Duration deadline = kDeadline) {
    return until([&] { return calls.open + connect_errors >= outcomes; }, deadline);
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

  std::optional<TcpClient> client;
  std::function<void(const Error&, int)> on_connect_error;  // called after it was counted
  int connect_errors = 0;
  std::vector<Error> errors;  // of all attempts that failed
  std::vector<int> attempts;
};

}  // namespace weir::test
