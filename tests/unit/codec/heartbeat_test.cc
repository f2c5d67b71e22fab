// FramedHandler's heartbeats, with a clock that the test moves.
#include <gtest/gtest.h>

#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "support/fault_table.h"
#include "support/loops.h"
#include "support/tcp_harness.h"
#include "support/test_client.h"
#include "weir/net/codec/framed_handler.h"
#include "weir/net/codec/line_codec.h"
#include "weir/net/tcp/tcp_client.h"
#include "weir/net/tcp/tcp_server.h"

namespace weir::test {
namespace {

using namespace std::chrono_literals;

struct Quiet final : FramedHandler<LineCodec> {
  std::vector<std::string> frames;
  std::vector<ConnectionRef> refs;
  std::optional<CloseReason> reason;

  void on_open(TcpConnection& c) override { refs.push_back(c.ref()); }
  void on_frame(TcpConnection&, std::string_view payload) override { frames.emplace_back(payload); }
  void on_close(TcpConnection&, CloseReason why) override { reason = why; }
};

// Both ends are quiet, and neither is taken for dead; who says nothing at all is.
TEST(FramedHandler, HeartbeatsKeepTheQuietAndTellTheDead) {
  for (const Trigger trigger : kTriggers) {
    SCOPED_TRACE(name(trigger));
    FaultTable faults;
    const ScopedFaults use(faults);
    EventLoop loop;
    TcpServer server(loop,
                     {.trigger = trigger, .read_idle_timeout = 30s, .heartbeat_interval = 10s});
    const auto here = std::make_shared<Quiet>();
    here->set_heartbeat("server");
    server.use_handler(here);
    const auto address = server.listen("127.0.0.1:0");
    ASSERT_TRUE(address);
    TcpClient client(loop,
                     {.trigger = trigger, .read_idle_timeout = 30s, .heartbeat_interval = 10s});
    const auto there = std::make_shared<Quiet>();
    there->set_heartbeat("client");
    client.use_handler(there);
    ASSERT_TRUE(client.connect(*address));
    ASSERT_TRUE(run_until(loop, [&] { return here->refs.size() == 1; }));
    TestClient dead(*address);
    ASSERT_TRUE(run_until(loop, [&] { return here->refs.size() == 2; }));
    for (int i = 0; i < 60; ++i) {
      faults.advance_clock(1s);
      run_turns(loop, 3);
    }
    EXPECT_NE(here->refs[0].get(), nullptr);
    EXPECT_EQ(client.state(), TcpClient::State::connected);
    EXPECT_GE(here->frames.size(), 4u);
    EXPECT_LE(here->frames.size(), 6u);
    for (const std::string& frame : here->frames) EXPECT_EQ(frame, "client");
    EXPECT_GE(there->frames.size(), 4u);
    for (const std::string& frame : there->frames) EXPECT_EQ(frame, "server");
    EXPECT_EQ(dead.receive_until_eof(), "server\nserver\n");
    dead.close();
    EXPECT_TRUE(run_until(loop, [&] { return here->reason.has_value(); }));
    ASSERT_TRUE(here->reason);
    EXPECT_EQ(here->reason->kind, CloseReason::Kind::read_idle_timeout);
  }
}

}  // namespace
}  // namespace weir::test
