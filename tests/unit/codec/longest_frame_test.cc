// A frame that max_input cannot hold would never be complete: that is found before the first byte.
#include <gtest/gtest.h>

#include <bit>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "support/expect_log.h"
#include "support/loops.h"
#include "support/tcp_harness.h"
#include "support/test_client.h"
#include "weir/net/codec/delimiter_codec.h"
#include "weir/net/codec/fixed_codec.h"
#include "weir/net/codec/framed_handler.h"
#include "weir/net/codec/length_prefixed_codec.h"
#include "weir/net/codec/line_codec.h"
#include "weir/net/codec/varint_codec.h"
#include "weir/net/tcp/tcp_client.h"
#include "weir/net/tcp/tcp_server.h"
#include "weir/net/testing/connected_pair.h"

namespace weir::test {
namespace {

using namespace std::chrono_literals;

// `stream` is the longest frame there is.
template <FrameCodec C>
void expect_longest(const C& codec, const std::string& stream) {
  EXPECT_EQ(codec.longest_frame(), stream.size());
  std::size_t progress = 0;
  const Decoded whole = decode_frame(codec, stream, progress);
  ASSERT_TRUE(whole && *whole);
  EXPECT_EQ((*whole)->consume, stream.size());
  const Decoded part = decode_frame(codec, std::string_view(stream).substr(1), progress = 0);
  EXPECT_FALSE(part && *part && (*part)->consume >= stream.size());
}

TEST(Codec, TheLongestFrameCountsWhatFramesIt) {
  const std::string x(300, 'x');
  expect_longest(LineCodec({.max_frame = 300}), x + "\r\n");
  expect_longest(LineCodec({.max_frame = 300, .strip_cr = false}), x + "\n");
  expect_longest(DelimiterCodec("--", 300), x + "--");
  expect_longest(FixedCodec(300), x);
  expect_longest(VarintCodec(300), "\xac\x02" + x);
  expect_longest(VarintCodec(127), "\x7f" + std::string(127, 'x'));
  expect_longest(VarintCodec(128), "\x80\x01" + std::string(128, 'x'));
  expect_longest(LengthPrefixedCodec({.length_bytes = 2, .offset = 3, .max_frame = 300}),
                 "???\x01\x2c" + x);
  const auto little = std::endian::little;
  expect_longest(LengthPrefixedCodec({.length_bytes = 8, .byte_order = little, .max_frame = 300}),
                 "\x2c\x01" + std::string(6, '\0') + x);
}

// A length field of one byte cannot announce 64 KiB, even if max_frame allows that.
TEST(LengthPrefixedCodec, TheLongestFrameIsNoLongerThanTheFieldCanSay) {
  using Options = LengthPrefixedCodec::Options;
  expect_longest(LengthPrefixedCodec(Options{.length_bytes = 1}), "\xff" + std::string(255, 'x'));
  expect_longest(LengthPrefixedCodec(Options{.length_bytes = 1, .length_includes_header = true}),
                 "\xff" + std::string(254, 'x'));
  expect_longest(LengthPrefixedCodec(Options{.length_bytes = 1, .adjustment = 4}),
                 "\xff" + std::string(259, 'x'));
  EXPECT_EQ(LengthPrefixedCodec(Options{.length_bytes = 1, .adjustment = -1000}).longest_frame(),
            1u);
}

template <FrameCodec C>
struct Recorder final : FramedHandler<C> {
  using FramedHandler<C>::FramedHandler;
  void on_open(TcpConnection& connection) override { ref = connection.ref(); }
  void on_frame(TcpConnection&, std::string_view payload) override { frames.emplace_back(payload); }
  ConnectionRef ref;
  std::vector<std::string> frames;
};
using Lines = Recorder<LineCodec>;

std::shared_ptr<Lines> lines_of(std::size_t max_frame) {
  return std::make_shared<Lines>(LineCodec({.max_frame = max_frame}));
}

void expect_refused(const Error& error) {
  EXPECT_NE(error.message().find("1002 bytes (a codec's max_frame"), std::string::npos)
      << error.message();
  EXPECT_NE(error.message().find("max_input (1001):"), std::string::npos) << error.message();
}

TEST(FramedHandler, AFrameAboveMaxInputIsReportedAtListen) {
  EventLoop loop;
  TcpServer server(loop, {.max_input = 1001});
  server.use_handler(lines_of(1000));
  const auto bound = server.listen("127.0.0.1:0");
  ASSERT_FALSE(bound);
  expect_refused(bound.error());
  server.use_handler(lines_of(999));  // it is as if nothing had happened
  EXPECT_TRUE(server.listen("127.0.0.1:0"));
}

TEST(FramedHandler, AFrameAboveMaxInputIsReportedForAHandlerOfALoop) {
  EventLoop loop;
  TcpServer server(loop, {.threads = 2, .max_input = 1001});
  server.handlers_per_loop([](EventLoop&) { return lines_of(1000); });
  const auto bound = server.listen("127.0.0.1:0");
  ASSERT_FALSE(bound);
  expect_refused(bound.error());
}

TEST(FramedHandler, AFrameAboveMaxInputIsReportedAtConnect) {
  TcpHarness tcp;
  TcpClient client(tcp.loop, {.max_input = 1001});
  client.use_handler(lines_of(1000));
  const auto begun = client.connect(tcp.address);
  ASSERT_FALSE(begun);
  expect_refused(begun.error());
  EXPECT_EQ(client.state(), TcpClient::State::idle);
  EXPECT_EQ(client.stats().attempts, 0u);
  client.use_handler(lines_of(999));
  EXPECT_TRUE(client.connect(tcp.address));
}

TEST(FramedHandler, AFrameAboveMaxInputIsReportedOfATestsPair) {
  EventLoop loop;
  try {
    const testing::ConnectedPair pair(loop, lines_of(1000), lines_of(1000), {.max_input = 1001});
    ADD_FAILURE() << "it was made";
  } catch (const SystemError& thrown) {
    expect_refused(thrown.error());
  }
}

// There is a connection already, for which the shorter messages are no trouble.
TEST(FramedHandler, AFrameAboveMaxInputIsLoggedAtSetHandler) {
  TcpHarness tcp({.max_input = 1001});
  const TestClient client = tcp.connect();
  const auto later = lines_of(1000);
  const ExpectLog warned("set_handler on connection");
  EXPECT_TRUE(wait_until([&] {  // one a second is logged
    tcp.connection()->set_handler(*later);
    return warned.count() > 0;
  }));
}

TEST(FramedHandler, TheLongestFrameFitsAMaxInputOfItsSize) {
  for (const Trigger trigger : kTriggers) {
    SCOPED_TRACE(name(trigger));
    EventLoop loop;
    TcpServer server(loop, {.trigger = trigger, .max_input = 1002});
    const auto handler = lines_of(1000);
    server.use_handler(handler);
    const auto bound = server.listen("127.0.0.1:0");
    ASSERT_TRUE(bound);
    TestClient client(*bound);
    const std::string line(1000, 'x');
    ASSERT_TRUE(client.send_all(line + "\r"));
    ASSERT_TRUE(run_until(loop, [&] {
      TcpConnection* connection = handler->ref.get();
      return connection != nullptr && connection->pending_input() == 1001;
    }));
    ASSERT_TRUE(client.send_all("\n" + line + "\r\n"));
    EXPECT_TRUE(run_until(loop, [&] { return handler->frames.size() == 2; }));
    EXPECT_EQ(handler->frames, std::vector<std::string>(2, line));
    EXPECT_NE(handler->ref.get(), nullptr);
  }
}

}  // namespace
}  // namespace weir::test
