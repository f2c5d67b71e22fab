// A client and its server in 10,000 networks.
#include <gtest/gtest.h>

#include <chrono>
#include <string>

#include "weir/net/sim/world.h"
#include "weir/net/tcp/tcp_client.h"
#include "weir/net/tcp/tcp_server.h"

namespace {

// Whatever the network does, the client gets its own bytes back, or an error.
void try_one_network(std::uint64_t seed) {
  weir::sim::World world(seed, {.max_latency = std::chrono::milliseconds(50),
                                .short_read = 0.3,
                                .short_write = 0.3,
                                .interrupted = 0.05,
                                .reset = 0.01});
  std::string got;
  bool ended = false;
  {
    weir::TcpServer server(world.host("server").loop());
    server.on_data([](weir::TcpConnection& conn, weir::Buffer& in) { conn.send(in); });
    const auto address = server.listen("127.0.0.1:7000");
    weir::TcpClient client(world.host("client").loop());
    client.on_open([](weir::TcpConnection& conn) { conn.send("hello"); });
    client.on_data([&](weir::TcpConnection& conn, weir::Buffer& in) {
      got += in.take();
      if (got == "hello") conn.close();
    });
    client.on_close([&](weir::TcpConnection&, weir::CloseReason) { ended = true; });
    client.on_connect_error([&](const weir::Error&, int) { ended = true; });
    EXPECT_TRUE(client.connect(*address).has_value());
    EXPECT_TRUE(world.run_until([&] { return ended; })) << "seed " << seed;
  }
  EXPECT_TRUE(std::string("hello").starts_with(got)) << "seed " << seed;
  EXPECT_EQ(world.end(), 0U) << "descriptors stay open, seed " << seed;
}

}  // namespace

TEST(Greeting, SurvivesTheNetwork) {
  for (std::uint64_t seed = 1; seed <= 10'000; ++seed) try_one_network(seed);
}
