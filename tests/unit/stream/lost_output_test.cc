// A connection that ends before all accepted output was sent does not look complete: for every
// reason the peer gets a RST, never an orderly end after a part.
#include <gtest/gtest.h>
#include <sys/epoll.h>

#include <cerrno>
#include <functional>
#include <stdexcept>
#include <vector>

#include "support/expect_log.h"
#include "support/tcp_harness.h"
#include "support/temp_files.h"

namespace weir::test {
namespace {

using Kind = CloseReason::Kind;
using namespace std::chrono_literals;

constexpr std::size_t kSent = 1'000'000;

// A connection whose output waits, because the client does not read.
struct Waiting {
  TcpHarness tcp;
  TestClient client;

  explicit Waiting(TcpServer::Options options) : tcp(options) {
    tcp.on.open = shrink_send_buffer;
    client = tcp.connect(0, 4096);
    connection().send(pattern(kSent));
    tcp.turns(3);
    EXPECT_GT(connection().pending_output(), 0u);
  }
  TcpConnection& connection() { return *tcp.connection(); }
};

struct Case {
  const char* what;
  Kind kind;
  std::function<void(Waiting&)> end;
};

const std::vector<Case> kCases = {
    {"the handler throws", Kind::handler_threw,
     [](Waiting& w) {
       w.tcp.on.data = [](TcpConnection&, Buffer&) { throw std::runtime_error("handler"); };
       ASSERT_TRUE(w.client.send_all("go"));
     }},
    {"abort", Kind::aborted, [](Waiting& w) { w.connection().abort(); }},
    {"the output overflows", Kind::output_overflow,
     [](Waiting& w) { w.connection().send(pattern(4 * kSent)); }},
    {"the output does not move", Kind::write_stall, [](Waiting& w) { pass(w.tcp, 400s); }},
    {"a close takes too long", Kind::drain_timeout,
     [](Waiting& w) {
       w.connection().close();
       w.tcp.turns(2);
       pass(w.tcp, 40s);
     }},
    {"the server's deadline", Kind::server_stopped,
     [](Waiting& w) {
       w.tcp.server->shutdown(1s, nullptr);
       w.tcp.turns(2);
       pass(w.tcp, 2s);
     }},
    {"a read fails", Kind::io_error,
     [](Waiting& w) {
       w.tcp.faults.on(Call::recv).fail(EIO);
       ASSERT_TRUE(w.client.send_all("go"));
     }},
    {"a write fails", Kind::io_error,
     [](Waiting& w) {
       w.tcp.faults.on(Call::send).fail(EHOSTUNREACH);
       w.tcp.faults.on(Call::sendmsg).fail(EHOSTUNREACH);
       w.connection().send("more");
     }},
    {"no memory in the kernel for a second", Kind::io_error,
     [](Waiting& w) {
       w.tcp.faults.on(Call::send).fail(ENOBUFS);
       w.tcp.faults.on(Call::sendmsg).fail(ENOBUFS);
       w.connection().send("more");
       for (int i = 0; i < 60; ++i) pass(w.tcp, 25ms);
     }},
    {"it cannot be watched", Kind::io_error,
     [](Waiting& w) {
       w.tcp.faults.on(Call::epoll_ctl).argument(EPOLL_CTL_MOD).fail(ENOSPC);
       w.connection().pause_reading();  // the interest changes
     }},
};

TEST(LostOutput, EndsWithARstWhateverTheReason) {
  const AllowLog threw("an exception left");
  const AllowLog unwatched("watch a connection");
  for (const Case& one : kCases) {
    SCOPED_TRACE(one.what);
    // Read although output waits, so that what the peer sends is seen.
    Waiting waiting({.high_water = 4 * 1024 * 1024 - 1024});
    one.end(waiting);
    EXPECT_TRUE(waiting.tcp.until_closed());
    waiting.tcp.faults.clear();
    ASSERT_TRUE(waiting.tcp.reason);
    EXPECT_EQ(waiting.tcp.reason->kind, one.kind);
    EXPECT_EQ(waiting.client.wait_for_end(), TestClient::End::reset);
  }
}

TEST(LostOutput, OfAFileThatEndsEarly) {
  for (const Trigger trigger : kTriggers) {
    SCOPED_TRACE(name(trigger));
    TcpHarness tcp({.trigger = trigger});
    TestClient client = tcp.connect();
    tcp.connection()->send_file(file_with(pattern(10'000)), 0, 20'000);
    EXPECT_TRUE(tcp.until_closed());
    EXPECT_EQ(*tcp.reason, (CloseReason{Kind::io_error, Errno(EIO)}));
    EXPECT_EQ(client.wait_for_end(), TestClient::End::reset);
  }
}

// Bytes that the handler sent before it threw were accepted, too.
TEST(LostOutput, OfAHandlerThatThrowsBehindItsAnswer) {
  const ExpectLog threw("an exception left");
  TcpHarness tcp;
  tcp.on.data = [](TcpConnection& c, Buffer&) {
    c.send("half an answer");
    throw std::runtime_error("handler");
  };
  TestClient client = tcp.connect();
  ASSERT_TRUE(client.send_all("go"));
  EXPECT_TRUE(tcp.until_closed());
  EXPECT_EQ(client.wait_for_end(), TestClient::End::reset);
}

// The other way round: nothing was lost, so the end is an orderly one.
TEST(LostOutput, NothingLostIsAnOrderlyEnd) {
  const ExpectLog threw("an exception left");
  TcpHarness tcp;
  tcp.on.data = [&](TcpConnection&, Buffer& in) {
    in.clear();
    throw std::runtime_error("handler");
  };
  TestClient client = tcp.connect();
  tcp.connection()->send("an answer");
  EXPECT_EQ(tcp.collect(client, 9), "an answer");
  ASSERT_TRUE(client.send_all("go"));
  EXPECT_TRUE(tcp.until_closed());
  EXPECT_EQ(client.wait_for_end(), TestClient::End::eof);
}

// An abort() from on_close comes too late to be one.
TEST(LostOutput, AnOrderlyEndStaysOneWhateverItsLastCallDoes) {
  TcpHarness tcp;
  tcp.on.close = [](TcpConnection& c, CloseReason) { c.abort(); };
  TestClient client = tcp.connect();
  tcp.connection()->send("an answer");
  tcp.connection()->close();
  EXPECT_EQ(tcp.collect(client, 9), "an answer");
  client.shutdown_write();
  EXPECT_TRUE(tcp.until_closed());
  EXPECT_EQ(client.wait_for_end(), TestClient::End::eof);
}

// A Unix socket has no RST (docs/closing.md): the peer reads a part and an end of file, unless we
// left something unread.
TEST(LostOutput, OfAUnixSocketLooksLikeAnOrderlyEnd) {
  for (const bool left_unread : {false, true}) {
    SCOPED_TRACE(left_unread);
    TcpHarness tcp({}, abstract_address("lost-output"));
    tcp.on.open = [](TcpConnection& c) { c.pause_reading(); };
    TestClient client = tcp.connect();
    if (left_unread) {
      ASSERT_TRUE(client.send_all("unread"));
    }
    tcp.connection()->send(pattern(kSent));
    tcp.turns(2);
    ASSERT_GT(tcp.connection()->pending_output(), 0u);
    tcp.connection()->abort();
    EXPECT_TRUE(tcp.until_closed());
    EXPECT_LT(client.receive_until_eof().size(), kSent);
    EXPECT_EQ(client.ended(), left_unread ? TestClient::End::reset : TestClient::End::eof);
  }
}

// The first error is reported, also when our shutdown() fails after it.
TEST(LostOutput, TheFirstErrorIsTheReason) {
  TcpHarness tcp;
  TestClient client = tcp.connect();
  tcp.faults.on(Call::send).nth(1).fail(ECONNRESET);
  tcp.faults.on(Call::shutdown).fail(ENOTCONN);
  tcp.connection()->send(pattern(20'000));
  tcp.connection()->shutdown();
  client.shutdown_write();
  EXPECT_TRUE(tcp.until_closed());
  EXPECT_EQ(*tcp.reason, (CloseReason{Kind::reset, Errno(ECONNRESET)}));
}

}  // namespace
}  // namespace weir::test
