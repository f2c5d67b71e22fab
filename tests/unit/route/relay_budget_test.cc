// A relay whose sink is slow while the budget of buffered bytes is nearly spent.
#include <gtest/gtest.h>

#include <chrono>
#include <memory>
#include <string>

#include "weir/net/route/relay.h"
#include "weir/net/sim/world.h"
#include "weir/net/tcp/tcp_client.h"
#include "weir/net/tcp/tcp_server.h"

namespace weir::test {
namespace {

using namespace std::chrono_literals;

constexpr std::size_t kSent = 1'000'000;

// The source always has more. The sink already holds its own share of the budget, and the rest of
// the budget is less than its high mark.
TEST(RelayBudget, ASinkThatTakesNothingDoesNotMakeTheLoopSpin) {
  sim::World world(1, {.send_buffer = 4096, .receive_buffer = 4096});
  TcpServer source(world.host("source").loop());
  source.on_open([](TcpConnection& connection) {
    connection.send(std::string(kSent, 'x'));
    connection.close();
  });
  const auto from = source.listen("127.0.0.1:7000");
  ASSERT_TRUE(from.has_value());

  EventLoop& loop = world.host("relay").loop();
  TcpServer near(loop, {.max_buffered_per_loop = 100'000, .allow_half_open = true});
  TcpClient far(loop, {.allow_half_open = true});
  ConnectionRef reader;
  near.on_open([&](TcpConnection& connection) {
    reader = connection.ref();
    ASSERT_TRUE(far.connect(*from).has_value());
  });
  far.on_open([&](TcpConnection& connection) {
    relay(connection, *reader.get(), {.path = RelayOptions::Path::copy});
  });
  const auto to = near.listen("127.0.0.1:7001");
  ASSERT_TRUE(to.has_value());

  TcpClient sink(world.host("sink").loop());
  ConnectionRef end;
  std::size_t got = 0;
  sink.on_open([&](TcpConnection& connection) {
    end = connection.ref();
    connection.pause_reading();
  });
  sink.on_data([&](TcpConnection&, Buffer& in) { got += in.take().size(); });
  ASSERT_TRUE(sink.connect(*to).has_value());

  world.run_for(2s);
  EXPECT_FALSE(world.spins());
  EXPECT_LT(world.calls(), 1000U);
  ASSERT_NE(end.get(), nullptr);
  end.get()->resume_reading();
  EXPECT_TRUE(world.run_until([&] { return got == kSent; }, 60s)) << got;
}

}  // namespace
}  // namespace weir::test
