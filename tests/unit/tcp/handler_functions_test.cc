// The functions that a server and a client may have instead of a handler: each is called for its
// event. (The other tests use handlers, through CountedEvents.)
#include <gtest/gtest.h>

#include <cstddef>
#include <set>
#include <string>

#include "support/loop_harness.h"
#include "support/tcp_harness.h"
#include "weir/net/tcp/tcp_client.h"
#include "weir/net/tcp/tcp_server.h"

namespace weir::test {
namespace {

using namespace std::chrono_literals;

struct Notes {
  std::set<std::string> called;
  std::size_t received = 0;
  ConnectionRef ref;
};

template <typename ServerOrClient>
void set_functions(ServerOrClient& side, Notes& notes) {
  side.on_open([&](TcpConnection& c) {
    notes.called.insert("open");
    notes.ref = c.ref();
    shrink_send_buffer(c);
  });
  side.on_data([&](TcpConnection&, Buffer& in) {
    notes.called.insert("data");
    notes.received += in.size();
    in.clear();
  });
  side.on_half_close([&](TcpConnection&) { notes.called.insert("half_close"); });
  side.on_blocked([&](TcpConnection&) { notes.called.insert("blocked"); });
  side.on_drained([&](TcpConnection&) { notes.called.insert("drained"); });
  side.on_timeout([&](TcpConnection&, CloseReason::Kind) {
    notes.called.insert("timeout");
    return true;
  });
  side.on_heartbeat([&](TcpConnection&) { notes.called.insert("heartbeat"); });
  side.on_close([&](TcpConnection&, CloseReason) { notes.called.insert("close"); });
}

TEST(HandlerFunctions, EachIsCalledForItsEventAtBothEnds) {
  LoopHarness house;
  Notes at_server;
  Notes at_client;
  TcpServer server(house.loop, {.idle_timeout = 60s,
                                .heartbeat_interval = 10s,
                                .high_water = 16 * 1024,
                                .allow_half_open = true});
  TcpClient client(house.loop,
                   {.idle_timeout = 60s, .heartbeat_interval = 10s, .high_water = 16 * 1024});
  set_functions(server, at_server);
  set_functions(client, at_client);
  ASSERT_TRUE(client.connect(server.listen("127.0.0.1:0").value()));
  ASSERT_TRUE(house.until([&] { return at_server.ref.get() && at_client.ref.get(); }));
  // All of it has arrived before the connections become idle.
  const auto send = [&](Notes& from, const Notes& to) {
    from.ref.send(pattern(500'000));
    ASSERT_TRUE(
        house.until([&] { return from.called.contains("drained") && to.received == 500'000; }));
  };
  send(at_server, at_client);
  send(at_client, at_server);
  pass(house, 11s);
  pass(house, 70s);
  at_client.ref.get()->shutdown();
  ASSERT_TRUE(house.until([&] { return at_server.called.contains("half_close"); }));
  at_server.ref.get()->close();
  ASSERT_TRUE(house.until([&] { return at_server.called.contains("close"); }));
  ASSERT_TRUE(house.until([&] { return at_client.called.contains("close"); }));
  const std::set<std::string> all = {"blocked",    "close",     "data", "drained",
                                     "half_close", "heartbeat", "open", "timeout"};
  EXPECT_EQ(at_server.called, all);
  EXPECT_EQ(at_client.called, all);
}

}  // namespace
}  // namespace weir::test
