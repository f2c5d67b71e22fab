// F13: one fast download does not hold the loop. Whatever way the bytes take, the kernel is given
// about a MiB of one connection in one turn, and the rest follows without a pause.
#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <cstdint>
#include <functional>
#include <string>
#include <string_view>

#include "support/tcp_harness.h"
#include "weir/net/route/broadcast.h"
#include "weir/net/route/relay.h"

namespace weir::test {
namespace {

constexpr std::size_t kTotal = 8 * 1024 * 1024;
constexpr std::size_t kPiece = 64 * 1024;
// With what a handler gathers, and the last piece.
constexpr std::uint64_t kMostInATurn = 1024 * 1024 + 2 * kPiece;

// A client that takes everything at once: before each of the server's writes it reads what it was
// sent, so that the socket is never full.
struct FastClient {
  TcpHarness tcp;
  TestClient client;
  std::size_t taken = 0;
  std::uint64_t most = 0;  // written in a turn

  explicit FastClient(Trigger trigger) : tcp({.trigger = trigger}) {
    for (const Call call : {Call::send, Call::sendmsg, Call::sendfile, Call::splice}) {
      tcp.faults.on(call).hook([this] { take(); });
    }
    client = tcp.connect();
  }
  ~FastClient() { tcp.faults.clear(); }

  void take() {
    if (client.is_open()) taken += client.receive_for(Duration::zero()).size();
  }
  // Lets the loop run until the client has all.
  void run(ConnectionRef receiver) {
    const bool all = wait_until([&] {
      TcpConnection* const connection = receiver.get();
      if (connection == nullptr) return true;
      const std::uint64_t before = connection->bytes_out();
      run_turn(tcp.loop);
      most = std::max(most, connection->bytes_out() - before);
      take();
      return taken >= kTotal;
    });
    EXPECT_TRUE(all);
    EXPECT_EQ(taken, kTotal);
    EXPECT_LE(most, kMostInATurn);
    EXPECT_GE(most, kPiece);
  }
};

class WriteTurn : public ::testing::TestWithParam<Trigger> {
 protected:
  FastClient fast{GetParam()};
  const std::string piece = pattern(kPiece);
  std::size_t sent = 0;

  // As long as the server's handler may go on.
  void generate(const std::function<SendResult(TcpConnection&)>& send_piece) {
    const auto more = [this, send_piece](TcpConnection& c) {
      while (sent < kTotal) {
        sent += kPiece;
        if (send_piece(c) != SendResult::queued) return;
      }
    };
    fast.tcp.on.drained = more;
    fast.tcp.on.data = [more](TcpConnection& c, Buffer& in) {
      in.clear();
      more(c);
    };
    ASSERT_TRUE(fast.client.send_all("go"));
    fast.run(fast.tcp.ref());
  }
};

TEST_P(WriteTurn, F13_OfAGeneratorThatSendsWhileItMay) {
  generate([this](TcpConnection& c) { return c.send(piece); });
}

TEST_P(WriteTurn, F13_OfAGeneratorOfSharedBytes) {
  const SharedBytes shared = SharedBytes::copy(piece);
  generate([&](TcpConnection& c) { return c.send(shared); });
}

TEST_P(WriteTurn, F13_OfManySmallSends) {
  const std::string small = pattern(1024);
  generate([&](TcpConnection& c) {
    SendResult result = SendResult::queued;
    for (std::size_t i = 0; i < kPiece / small.size(); ++i) {
      if (c.send(small) != SendResult::queued) result = SendResult::above_high_mark;
    }
    return result;
  });
}

TEST_P(WriteTurn, F13_OfAFile) {
  Fd file(::open("/tmp", O_TMPFILE | O_RDWR | O_CLOEXEC, 0600));
  ASSERT_TRUE(file.valid());
  ASSERT_EQ(::ftruncate(file.get(), kTotal), 0);
  fast.tcp.connection()->send_file(std::move(file), 0, kTotal);
  fast.run(fast.tcp.ref());
}

TEST_P(WriteTurn, F13_OfBroadcastsThatCameInOneTurn) {
  Broadcast everybody;
  everybody.join(*fast.tcp.connection());
  const SharedBytes shared = SharedBytes::copy(piece);
  std::size_t from = 0;
  const ConnectionRef receiver = fast.tcp.ref();
  while (from < kTotal) {  // no more at once than a member may be behind
    std::uint64_t before = receiver.get()->bytes_out();
    for (std::size_t i = 0; i < 32 && from < kTotal; ++i, from += kPiece) everybody.send(shared);
    run_turn(fast.tcp.loop);
    EXPECT_LE(receiver.get()->bytes_out() - before, kMostInATurn);
    ASSERT_TRUE(wait_until([&] {
      before = receiver.get()->bytes_out();
      run_turn(fast.tcp.loop);
      fast.take();
      EXPECT_LE(receiver.get()->bytes_out() - before, kMostInATurn);
      return fast.taken == from;
    }));
  }
  EXPECT_EQ(fast.taken, kTotal);
}

// Through memory and through a pipe.
TEST_P(WriteTurn, F13_OfARelay) {
  for (const auto path : {RelayOptions::Path::copy, RelayOptions::Path::splice}) {
    fast.taken = 0;
    const ConnectionRef sink = fast.tcp.ref();
    TestClient source = fast.tcp.connect();
    relay(*sink.get(), *fast.tcp.connection(), {.path = path});
    const std::string data = pattern(kTotal);
    std::size_t given = 0;
    ASSERT_TRUE(wait_until([&] {
      given += source.send_some(std::string_view(data).substr(given), Duration::zero());
      const std::uint64_t before = sink.get()->bytes_out();
      run_turn(fast.tcp.loop);
      EXPECT_LE(sink.get()->bytes_out() - before, kMostInATurn);
      fast.take();
      return fast.taken == kTotal;
    }));
    source.close();
    fast.client.close();
    ASSERT_TRUE(fast.tcp.until([&] { return fast.tcp.server->connection_count() == 0; }));
    fast.client = fast.tcp.connect();
  }
}

INSTANTIATE_TEST_SUITE_P(Triggers, WriteTurn, ::testing::ValuesIn(kTriggers),
                         [](const auto& test) { return std::string(name(test.param)); });

}  // namespace
}  // namespace weir::test
