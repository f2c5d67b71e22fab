// Who watches a connection is told of its end, whatever happens to the others who are told.
#include <gtest/gtest.h>

#include <chrono>
#include <memory>
#include <new>
#include <string>
#include <vector>

#include "support/tcp_harness.h"
#include "weir/net/route/broadcast.h"
#include "weir/net/stream/internal/connection_group.h"
#include "weir/net/tcp/tcp_client.h"

namespace weir::test {
namespace {

using namespace std::chrono_literals;

// As one that gets no memory for a post to the user's task.
struct Thrower final : internal::ConnectionObserver {
  void on_drained(TcpConnection&) override {}
  void on_ended(TcpConnection&, CloseReason) override {
    ++told;
    throw std::bad_alloc();
  }
  int told = 0;
};

TEST(Watchers, AllAreToldOfTheEndAlsoWhenOneThrows) {
  TcpHarness tcp;
  TestClient client = tcp.connect();
  std::vector<std::shared_ptr<Thrower>> watchers;
  Broadcast before;
  Broadcast after;
  before.join(*tcp.connection());
  for (int i = 0; i < 3; ++i) {
    watchers.push_back(std::make_shared<Thrower>());
    internal::ConnectionGroup::observe(*tcp.connection(), watchers.back());
  }
  after.join(*tcp.connection());
  client.close();
  EXPECT_THROW(static_cast<void>(tcp.until_closed()), std::bad_alloc);
  for (const auto& watcher : watchers) EXPECT_EQ(watcher->told, 1);
  EXPECT_EQ(before.stats().members, 0u);  // or it would send to one that is gone
  EXPECT_EQ(after.stats().members, 0u);
  EXPECT_EQ(tcp.server->connection_count(), 0u);
}

TEST(Watchers, AThrowCostsNeitherTheResetNorTheServersEnd) {
  TcpHarness tcp;
  TestClient client = tcp.connect(0, 4096);
  internal::ConnectionGroup::observe(*tcp.connection(), std::make_shared<Thrower>());
  tcp.connection()->send(pattern(8'000'000));
  tcp.turns(2);
  ASSERT_GT(tcp.connection()->pending_output(), 0u);
  bool over = false;
  tcp.server->shutdown(0s, [&over] { over = true; });
  EXPECT_THROW(static_cast<void>(tcp.until_closed()), std::bad_alloc);
  EXPECT_TRUE(tcp.until([&over] { return over; }));
  client.receive_until_eof();
  EXPECT_EQ(client.ended(), TestClient::End::reset);
}

TEST(Watchers, AThrowCostsNoClientItsNextAttempt) {
  TcpHarness tcp;
  TcpClient outgoing(tcp.loop, {.reconnect = {.initial = 1ms}});
  ASSERT_TRUE(outgoing.connect(tcp.address));
  ASSERT_TRUE(
      tcp.until([&] { return outgoing.connection().get() != nullptr && tcp.calls.open == 1; }));
  internal::ConnectionGroup::observe(*outgoing.connection().get(), std::make_shared<Thrower>());
  tcp.connection()->close();
  EXPECT_THROW(static_cast<void>(tcp.until([&] { return tcp.calls.open == 2; })), std::bad_alloc);
  EXPECT_TRUE(tcp.until([&] { return tcp.calls.open == 2; }));
}

}  // namespace
}  // namespace weir::test
