// The difference of two Stats, as programs print it each second.
#include <gtest/gtest.h>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <set>
#include <span>
#include <string>
#include <string_view>

#include "support/echo_server.h"
#include "support/loops.h"
#include "weir/base/metrics.h"
#include "weir/net/reactor/event_loop.h"
#include "weir/net/route/broadcast.h"
#include "weir/net/tcp/tcp_client.h"
#include "weir/net/tcp/tcp_server.h"
#include "weir/net/udp/udp_socket.h"

namespace weir::test {
namespace {

using Words = std::span<std::uint64_t>;

// The fields of a Stats, all of 64 bits, that lie in its first `size` bytes.
template <typename Stats>
Words words(Stats& stats, std::size_t size = sizeof(Stats)) {
  return {reinterpret_cast<std::uint64_t*>(&stats), size / sizeof(std::uint64_t)};
}

// Field i is 5 i in the later one and 2 i in the earlier one; the difference must be 3 i. So a
// field that is added and forgotten is found.
template <typename Stats>
void expect_difference(std::size_t gauges_at_front, std::size_t size = sizeof(Stats)) {
  Stats earlier;
  Stats later;
  for (std::size_t i = 0; i < words(later, size).size(); ++i) {
    words(earlier, size)[i] = 2 * (i + 1);
    words(later, size)[i] = 5 * (i + 1);
  }
  Stats difference = later - earlier;
  for (std::size_t i = gauges_at_front; i < words(difference, size).size(); ++i) {
    EXPECT_EQ(words(difference, size)[i], 3 * (i + 1)) << "field " << i;
  }
  for (std::size_t i = 0; i < gauges_at_front; ++i) {
    EXPECT_EQ(words(difference, size)[i], 5 * (i + 1)) << "field " << i;
  }
}

TEST(StatsDifference, EveryCounterIsSubtractedAndWhatIsNowIsKept) {
  expect_difference<EventLoop::Stats>(0);
  expect_difference<TcpClient::Stats>(0);
  expect_difference<UdpSocket::Stats>(0);
  expect_difference<Broadcast::Stats>(1);  // members
}

// `buffered` stands in the middle; the queues at the end are no counters.
TEST(StatsDifference, OfAServer) {
  constexpr std::size_t kCounters = offsetof(TcpServer::Stats, accept_queues);
  constexpr std::size_t kBuffered = offsetof(TcpServer::Stats, buffered) / sizeof(std::uint64_t);
  TcpServer::Stats earlier;
  TcpServer::Stats later;
  for (std::size_t i = 0; i < words(later, kCounters).size(); ++i) {
    words(earlier, kCounters)[i] = 2 * (i + 1);
    words(later, kCounters)[i] = 5 * (i + 1);
  }
  later.accept_queues.resize(1);
  TcpServer::Stats difference = later - earlier;
  for (std::size_t i = 0; i < words(difference, kCounters).size(); ++i) {
    const bool now = i == 0 || i == kBuffered;
    EXPECT_EQ(words(difference, kCounters)[i], (now ? 5 : 3) * (i + 1)) << "field " << i;
  }
  EXPECT_EQ(difference.accept_queues.size(), 1u);
}

template <typename Stats>
void expect_good_list() {
  std::set<std::string_view> names;
  std::size_t size = 0;
  for (const Metric<Stats>& metric : Stats::metrics()) {
    size += metric.size;
    EXPECT_TRUE(names.insert(metric.name).second) << metric.name << " is there twice";
    EXPECT_TRUE(metric.help.ends_with('.')) << metric.name;
    const auto plain = [](char c) { return (c >= 'a' && c <= 'z') || c == '_'; };
    EXPECT_TRUE(std::ranges::all_of(metric.name, plain)) << metric.name;
  }
  EXPECT_EQ(size, sizeof(Stats)) << "a field is missing in the list";
}

TEST(MetricLists, HaveEachFieldOnceWithAHelp) {
  expect_good_list<EventLoop::Stats>();
  expect_good_list<TcpServer::Stats>();
  expect_good_list<TcpClient::Stats>();
  expect_good_list<UdpSocket::Stats>();
  expect_good_list<Broadcast::Stats>();
}

TEST(MetricLists, OfAServerOnAPage) {
  EventLoop loop;
  EchoServer echo(loop);
  const SocketAddress address = echo.listen();
  {
    TestClient client(address);
    serve_while(loop, [&] { EXPECT_TRUE(echoes(client, "ping")); });
  }
  ASSERT_TRUE(run_until(loop, [&] { return echo.server.connection_count() == 0; }));
  std::string page;
  append_metrics(page, "weir_server", echo.server.stats());
  for (const std::string& line :
       {std::string("weir_server_accepted_total 1\n"),
        std::string("weir_server_bytes_in_total 4\n"),
        std::string("weir_server_closed_total{reason=\"peer_eof\"} 1\n"),
        "weir_server_accept_queue{listener=\"" + address.to_string() + "\"} 0\n",
        "weir_server_accept_queue_limit{listener=\"" + address.to_string() + "\"} "}) {
    EXPECT_NE(page.find(line), std::string::npos) << line << page;
  }
  append_metrics(page, "weir_loop", loop.stats());
  EXPECT_NE(page.find("weir_loop_turn_times_seconds_bucket{le=\"1.024e-06\"} "), std::string::npos)
      << page;
  EXPECT_NE(page.find("weir_loop_turn_times_seconds_bucket{le=\"+Inf\"} "), std::string::npos);
}

TEST(StatsDifference, OfASecondOfAnEcho) {
  EventLoop loop;
  EchoServer echo(loop);
  const SocketAddress address = echo.listen();
  TestClient client(address);
  serve_while(loop, [&] { EXPECT_TRUE(echoes(client, "before")); });
  const TcpServer::Stats before = echo.server.stats();
  const EventLoop::Stats loop_before = loop.stats();
  serve_while(loop, [&] { EXPECT_TRUE(echoes(client, "ping")); });
  const TcpServer::Stats second = echo.server.stats() - before;
  EXPECT_EQ(second.connections, 1u);
  EXPECT_EQ(second.accepted, 0u);
  EXPECT_EQ(second.bytes_in, 4u);
  EXPECT_EQ(second.bytes_out, 4u);
  const EventLoop::Stats loop_second = loop.stats() - loop_before;
  EXPECT_GT(loop_second.events, 0u);
  EXPECT_LT(loop_second.turns, loop.stats().turns);
}

}  // namespace
}  // namespace weir::test
