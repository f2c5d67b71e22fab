// Listening sockets that go from one server to the next, and what each of the two does when the
// other fails.
#include "weir/net/service/hand_over.h"

#include <gtest/gtest.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <array>
#include <atomic>
#include <cerrno>
#include <filesystem>
#include <functional>
#include <memory>
#include <optional>
#include <ostream>
#include <string>
#include <thread>
#include <tuple>
#include <utility>
#include <vector>

#include "support/echo_server.h"
#include "support/expect_log.h"
#include "support/fault_table.h"
#include "support/loops.h"
#include "support/temp_files.h"
#include "support/test_client.h"
#include "weir/net/tcp/tcp_server.h"

namespace weir::test {
namespace {

using namespace std::chrono_literals;
using Kind = CloseReason::Kind;

// An echo server on the loop of its thread that serves a point.
struct Old {
  Old(EventLoop& on, const TempFolder& folder, TcpServer::Options options = {})
      : echo(on, options) {
    auto point = HandOver::open_point(folder.file("point"));
    if (!point) {
      ADD_FAILURE() << point.error().message();
      return;
    }
    hand_over.emplace(on, echo.server, std::move(*point), [this] {
      ++taken_over;
      echo.server.shutdown({.deadline = 10s, .grace = 8s, .leave_listeners = true},
                           [this] { done = true; });
    });
  }

  EchoServer echo;
  std::optional<HandOver> hand_over;
  std::atomic<int> taken_over{0};
  std::atomic<bool> done{false};
};

std::optional<Predecessor> ask(const TempFolder& folder, Duration deadline = 5s) {
  auto asked = Predecessor::ask(folder.file("point"), deadline);
  if (!asked) {
    ADD_FAILURE() << asked.error().message();
    return std::nullopt;
  }
  EXPECT_TRUE(*asked) << "nobody serves the point";
  return std::move(*asked);
}

Error not_asked(const TempFolder& folder, Duration deadline = 5s) {
  auto asked = Predecessor::ask(folder.file("point"), deadline);
  if (!asked) return asked.error();
  ADD_FAILURE() << "was asked";
  return Error("none");
}

struct Way {
  AcceptMode accept;
  std::size_t old_threads;
  std::size_t new_threads;
};

class HandOverWays : public ::testing::TestWithParam<Way> {};

std::ostream& operator<<(std::ostream& out, const Way& way) {
  constexpr std::array kNames{"Single", "ReusePort", "Exclusive"};
  return out << kNames.at(static_cast<std::size_t>(way.accept)) << way.old_threads << "To"
             << way.new_threads;
}

INSTANTIATE_TEST_SUITE_P(
    Tcp, HandOverWays,
    ::testing::Values(Way{AcceptMode::single, 0, 0}, Way{AcceptMode::single, 2, 1},
                      Way{AcceptMode::reuse_port, 2, 2}, Way{AcceptMode::reuse_port, 3, 1},
                      Way{AcceptMode::reuse_port, 1, 3}, Way{AcceptMode::reuse_port, 2, 0},
                      Way{AcceptMode::exclusive, 2, 2}, Way{AcceptMode::exclusive, 0, 2}),
    ::testing::PrintToStringParamName());

TEST_P(HandOverWays, NewConnectionsGoToTheNewServerAndOldOnesStay) {
  const TempFolder folder;
  EventLoop loop;
  Old old(loop, folder, {.threads = GetParam().old_threads, .accept = GetParam().accept});
  const SocketAddress address = old.echo.listen();
  const SocketAddress path = old.echo.listen(folder.address("echo"));
  TestClient stays;
  serve_while(loop, [&] {
    stays.connect(address);
    EXPECT_TRUE(echoes(stays, "before"));

    EventLoop new_loop;
    EchoServer next(new_loop, {.threads = GetParam().new_threads, .accept = GetParam().accept});
    auto predecessor = ask(folder);
    ASSERT_TRUE(predecessor);
    const auto bound = next.server.listen(predecessor->take_listeners());
    ASSERT_TRUE(bound) << bound.error().message();
    EXPECT_EQ(*bound, (std::vector{address, path})) << "each once";
    const auto taken = predecessor->take_over();
    ASSERT_TRUE(taken) << taken.error().message();
    const std::uint64_t opened_by_old = old.echo.opened;
    serve_while(new_loop, [&] {
      std::vector<TestClient> clients;
      for (int i = 0; i < 60; ++i) {  // so many that each socket of the old one gets some
        clients.emplace_back(i % 3 == 0 ? path : address);
        EXPECT_TRUE(echoes(clients.back())) << i;
      }
      EXPECT_TRUE(echoes(stays, "after"));
      // Loops of the old one's own let go a moment after it has said so.
      EXPECT_EQ(next.opened + old.echo.opened, opened_by_old + 60);
      EXPECT_GT(next.opened, 30u);
      EXPECT_TRUE(exists(folder.file("echo")));
    });
    EXPECT_FALSE(old.done);
    stays.close();
  });
  EXPECT_TRUE(run_until(loop, [&] { return old.done.load(); })) << "before the end of the grace";
  EXPECT_EQ(old.taken_over, 1);
  EXPECT_EQ(old.echo.closed_for(Kind::peer_eof), old.echo.opened);
  EXPECT_FALSE(exists(folder.file("echo"))) << "the new server is gone as well";
  EXPECT_FALSE(exists(folder.file("point")));
}

TEST(HandOver, AConnectionThatWaitsToBeAcceptedIsNotLost) {
  for (const AcceptMode accept : {AcceptMode::single, AcceptMode::exclusive}) {
    const TempFolder folder;
    EventLoop loop;
    Old old(loop, folder, {.threads = 1, .accept = accept});
    const SocketAddress address = old.echo.listen();
    std::optional<Predecessor> predecessor;
    serve_while(loop, [&] {
      predecessor = ask(folder);
      ASSERT_TRUE(predecessor && predecessor->take_over());
    });
    // The old server has let go, the new one has not begun.
    TestClient client(address);
    ASSERT_TRUE(client.send_all("ping"));
    EchoServer next(loop, {.threads = 2, .accept = accept});
    ASSERT_TRUE(next.server.listen(predecessor->take_listeners()));
    serve_while(loop, [&] { EXPECT_EQ(client.receive_exactly(4), "ping"); });
    EXPECT_EQ(next.opened + old.echo.opened, 1u);
    if (accept == AcceptMode::single) {
      EXPECT_EQ(next.opened, 1u);
    }
    client.close();
    EXPECT_TRUE(run_until(loop, [&] { return old.done.load(); }));
  }
}

TEST(HandOver, ThePointIsPassedOnFromServerToServer) {
  const TempFolder folder;
  EventLoop loop;
  Old first(loop, folder);
  const SocketAddress address = first.echo.listen();
  std::optional<Predecessor> from_first;
  serve_while(loop, [&] {
    from_first = ask(folder);
    ASSERT_TRUE(from_first && from_first->take_over());
  });
  EchoServer second(loop);
  ASSERT_TRUE(second.server.listen(from_first->take_listeners()));
  std::atomic<int> taken_over{0};
  std::optional<HandOver> offer;
  offer.emplace(loop, second.server, from_first->take_point(), [&] {
    ++taken_over;
    offer.reset();  // its own end, in its own callback
  });
  std::optional<Predecessor> from_second;
  serve_while(loop, [&] {
    from_second = ask(folder);
    ASSERT_TRUE(from_second && from_second->take_over());
  });
  EXPECT_EQ(taken_over, 1);
  EXPECT_TRUE(exists(folder.file("point")));
  const auto third = from_second->take_listeners();
  ASSERT_EQ(third.size(), 1u);
  EXPECT_EQ(third[0].address(), address);
}

// --- successors that fail ------------------------------------------------------------------------

TEST(HandOver, F70_ASuccessorThatDiesMidwayChangesNothing) {
  const ExpectLog log("the successor did not take over: it closed the connection");
  const TempFolder folder;
  EventLoop loop;
  Old old(loop, folder);
  const SocketAddress address = old.echo.listen();
  const SocketAddress path = old.echo.listen(folder.address("echo"));
  serve_while(loop, [&] {
    for (int i = 0; i < 3; ++i) {
      EventLoop new_loop;
      TcpServer next(new_loop);
      auto predecessor = ask(folder);
      ASSERT_TRUE(predecessor);
      ASSERT_TRUE(next.listen(predecessor->take_listeners()));
    }
    TestClient client(address);
    EXPECT_TRUE(echoes(client));
    TestClient by_path(path);
    EXPECT_TRUE(echoes(by_path));
    auto predecessor = ask(folder);
    EXPECT_TRUE(predecessor && predecessor->take_over());
  });
  EXPECT_EQ(old.taken_over, 1);
}

TEST(HandOver, ASilentSuccessorHasFiveSecondsAndTheNextOneWaits) {
  const ExpectLog log("the successor did not take over: it did not answer in time");
  const TempFolder folder;
  FaultTable faults;
  const ScopedFaults use(faults);
  EventLoop loop;
  Old old(loop, folder);
  old.echo.listen();
  std::optional<Predecessor> silent;
  serve_while(loop, [&] { silent = ask(folder); });
  std::atomic<bool> answered{false};
  serve_while(loop, [&] {
    std::thread next([&] {
      auto predecessor = ask(folder, 60s);
      answered = true;
      EXPECT_TRUE(predecessor && predecessor->take_over());
    });
    TestClient probe;  // a round trip, in which the next one would have been answered
    EXPECT_FALSE(answered);
    faults.advance_clock(HandOver::kDeadline);
    loop.post([] {});
    next.join();
  });
  EXPECT_EQ(old.taken_over, 1);
  const auto too_late = silent->take_over();
  ASSERT_FALSE(too_late);
}

TEST(HandOver, NonsenseFromASuccessorIsRefused) {
  const ExpectLog log("the successor did not take over: its answer is invalid");
  const TempFolder folder;
  EventLoop loop;
  Old old(loop, folder);
  old.echo.listen();
  const auto point = SocketAddress::from_unix_path(folder.file("point"));
  serve_while(loop, [&] {
    for (const char* words : {"X", "SS", "GET / HTTP/1.1\r\n\r\n"}) {
      TestClient client(*point);
      client.send_all(words);
      EXPECT_NE(client.wait_for_end(), TestClient::End::open);
    }
  });
  EXPECT_EQ(old.taken_over, 0);
}

TEST(HandOver, F72_AnotherUserIsRefused) {
  if (::geteuid() != 0) GTEST_SKIP() << "needs root to be another user";
  const ExpectLog log("belongs to user 65534");
  const TempFolder folder;
  EventLoop loop;
  Old old(loop, folder);
  old.echo.listen();
  struct stat info {};
  ASSERT_EQ(::stat(folder.file("point").c_str(), &info), 0);
  EXPECT_EQ(info.st_mode & 0777, 0600u);
  ASSERT_EQ(::chmod(folder.file("point").c_str(), 0666), 0);
  ASSERT_EQ(::chmod(folder.path().c_str(), 0755), 0);
  serve_while(loop, [&] {
    // The system call changes this thread alone; the C library would change all threads.
    ASSERT_EQ(::syscall(SYS_setresuid, -1, 65534, -1), 0);
    EXPECT_EQ(not_asked(folder).code(), EPERM);
  });
  EXPECT_EQ(old.taken_over, 0);
}

TEST(HandOver, WhatTheKernelRefusesTheOldServerSurvives) {
  const ExpectLog log("hand-over at unix:");
  for (const Call call : {Call::fcntl, Call::sendmsg, Call::getsockopt}) {
    const TempFolder folder;
    FaultTable faults;
    const ScopedFaults use(faults);
    EventLoop loop;
    Old old(loop, folder);
    const SocketAddress address = old.echo.listen();
    faults.on(call).nth(1).fail(ENOMEM);
    serve_while(loop, [&] {
      EXPECT_EQ(not_asked(folder).code(), EPERM);
      auto predecessor = ask(folder);
      TestClient client(address);
      EXPECT_TRUE(echoes(client));
      EXPECT_TRUE(predecessor && predecessor->take_over());
    });
    EXPECT_EQ(old.taken_over, 1);
  }
}

// Once the old server has heard that the successor serves, it lets go.
TEST(HandOver, ASuccessorThatCannotWaitForTheConfirmationDoesNotSayThatItServes) {
  const ExpectLog log("the successor did not take over: it closed the connection");
  const TempFolder folder;
  EventLoop loop;
  Old old(loop, folder);
  const SocketAddress address = old.echo.listen();
  serve_while(loop, [&] {
    auto predecessor = ask(folder);
    ASSERT_TRUE(predecessor);
    {
      FaultTable faults;
      const ScopedFaults use(faults);
      faults.on(Call::epoll_create1).nth(1).fail(EMFILE);
      const auto taken = predecessor->take_over();
      ASSERT_FALSE(taken);
      EXPECT_EQ(taken.error().code(), EMFILE);
    }
    predecessor.reset();  // it exits
    TestClient client(address);
    EXPECT_TRUE(echoes(client));
  });
  EXPECT_EQ(old.taken_over, 0);
}

TEST(HandOver, AServerThatWasShutDownHandsNothingOver) {
  const ExpectLog log("the server was shut down");
  const TempFolder folder;
  EventLoop loop;
  Old old(loop, folder);
  old.echo.listen();
  std::optional<Predecessor> early;
  serve_while(loop, [&] { early = ask(folder); });
  bool done = false;
  old.echo.server.shutdown(5s, [&] { done = true; });
  EXPECT_FALSE(old.echo.server.duplicate_listeners());
  serve_while(loop, [&] {
    ASSERT_TRUE(early);
    EXPECT_FALSE(early->take_over());
    EXPECT_EQ(not_asked(folder).code(), EPERM);
  });
  EXPECT_TRUE(run_until(loop, [&] { return done; }));
  EXPECT_EQ(old.taken_over, 0);
}

TEST(HandOver, MoreSocketsThanFitInAMessageAreRefused) {
  const ExpectLog log("253 listening sockets do not fit into one message");
  const TempFolder folder;
  EventLoop loop;
  Old old(loop, folder);
  for (std::size_t i = 0; i < 253; ++i) old.echo.listen();  // and the point
  serve_while(loop, [&] { EXPECT_EQ(not_asked(folder).code(), EPERM); });
}

// --- old servers that fail -----------------------------------------------------------------------

TEST(Predecessor, NobodyThereMeansAFreshStart) {
  const TempFolder folder;
  auto asked = Predecessor::ask(folder.file("point"));
  ASSERT_TRUE(asked);
  EXPECT_FALSE(*asked);
  {
    auto dead = Socket::stream(SocketAddress::Family::unix_path);
    ASSERT_TRUE(dead->bind(*SocketAddress::from_unix_path(folder.file("point"))));
  }
  asked = Predecessor::ask(folder.file("point"));
  ASSERT_TRUE(asked);
  EXPECT_FALSE(*asked);
  EXPECT_TRUE(HandOver::open_point(folder.file("point"))) << "and the stale file is no hindrance";
  EXPECT_FALSE(Predecessor::ask(std::string(200, 'x')));
}

TEST(Predecessor, SilenceEndsAtTheDeadline) {
  const TempFolder folder;
  const auto point = HandOver::open_point(folder.file("point"));
  ASSERT_TRUE(point);
  EXPECT_EQ(not_asked(folder, 20ms).code(), ETIMEDOUT);
}

TEST(Predecessor, WhoSpeaksSomethingElseIsNotBelieved) {
  const TempFolder folder;
  auto point = HandOver::open_point(folder.file("point"));
  ASSERT_TRUE(point);
  for (const std::size_t size : {1u, 31u, 32u, 4000u, 8000u}) {
    std::thread liar([&] {
      while (true) {
        auto socket = point->socket().accept();
        if (!socket) continue;  // EAGAIN: not there yet
        const std::vector<std::byte> bytes(size, std::byte{'x'});
        static_cast<void>(socket->send(bytes));
        return;
      }
    });
    const Error error = not_asked(folder);
    EXPECT_TRUE(error.code() == EPROTO || error.code() == EPERM) << error.message();
    liar.join();
  }
}

// --- shutdown with a grace -----------------------------------------------------------------------

TEST(Grace, ConnectionsGoOnUntilItEndsAndAreThenClosed) {
  EventLoop loop;
  EchoServer echo(loop);
  const SocketAddress address = echo.listen();
  TestClient stays;
  TestClient leaves;
  bool done = false;
  serve_while(loop, [&] {
    stays.connect(address);
    leaves.connect(address);
    EXPECT_TRUE(echoes(stays) && echoes(leaves));
  });
  const TimePoint start = Clock::now();
  echo.server.shutdown({.deadline = 10s, .grace = 300ms}, [&] { done = true; });
  serve_while(loop, [&] {
    EXPECT_TRUE(echoes(stays, "served"));
    leaves.close();
    EXPECT_EQ(stays.wait_for_end(), TestClient::End::eof);
    EXPECT_GE(Clock::now() - start, 300ms);
    EXPECT_EQ(TestClient().try_connect(address), ECONNREFUSED);
    stays.close();
  });
  EXPECT_TRUE(run_until(loop, [&] { return done; }));
  EXPECT_EQ(echo.closed_for(Kind::peer_eof), 1u);
  EXPECT_EQ(echo.closed_for(Kind::server_stopped), 1u);
}

TEST(Grace, EndsWithTheLastConnectionOrWithASecondShutdown) {
  for (const bool second : {false, true}) {
    for (const std::size_t threads : {0u, 2u}) {
      EventLoop loop;
      EchoServer echo(loop, {.threads = threads});
      const SocketAddress address = echo.listen();
      TestClient client;
      serve_while(loop, [&] {
        client.connect(address);
        EXPECT_TRUE(echoes(client));
      });
      int done = 0;
      echo.server.shutdown({.deadline = 100s, .grace = 100s}, [&] { ++done; });
      serve_while(loop, [&] { EXPECT_TRUE(echoes(client, "still served")); });
      if (second) {
        echo.server.shutdown(10s, [&] { ++done; });
        serve_while(loop, [&] { EXPECT_EQ(client.wait_for_end(), TestClient::End::eof); });
      }
      client.close();
      EXPECT_TRUE(run_until(loop, [&] { return done == (second ? 2 : 1); }));
      EXPECT_EQ(echo.closed_for(second ? Kind::server_stopped : Kind::peer_eof), 1u);
    }
  }
}

TEST(Grace, IsCutToTheDeadline) {
  EventLoop loop;
  EchoServer echo(loop);
  const SocketAddress address = echo.listen();
  TestClient client;
  serve_while(loop, [&] {
    client.connect(address);
    EXPECT_TRUE(echoes(client));
  });
  bool done = false;
  echo.server.shutdown({.deadline = 100ms, .grace = 100s}, [&] { done = true; });
  EXPECT_TRUE(run_until(loop, [&] { return done; }));
  EXPECT_EQ(echo.closed_for(Kind::server_stopped), 1u);
}

// A service manager keeps its sockets and starts the next process with them.
TEST(Adopting, F59_ASocketThatIsLentServesTheNextAfterAShutdownToo) {
  const TempFolder folder;
  for (const auto& where : {std::string("127.0.0.1:0"), folder.address("socket")}) {
    for (const bool handed_over : {false, true}) {
      auto kept = ListeningSocket::open(SocketAddress::parse(where).value(), {});
      ASSERT_TRUE(kept);
      for (const int round : {1, 2}) {
        SCOPED_TRACE(where + (handed_over ? " handed over, round " : ", round ") +
                     std::to_string(round));
        auto lent = ListeningSocket::adopt(kept->duplicate().value());
        ASSERT_TRUE(lent);
        lent->set_lent();
        TestClient client(kept->address());  // waits in the queue, which outlives the servers
        EventLoop loop;
        Old old(loop, folder);
        ASSERT_TRUE(old.echo.server.listen(std::move(*lent)));
        std::optional<EchoServer> next;
        std::thread asking;
        if (handed_over) {
          next.emplace(loop);
          asking = std::thread([&] {
            auto found = Predecessor::ask(folder.file("point"));
            loop.post([&, listeners = (*found)->take_listeners()]() mutable {
              EXPECT_TRUE(next->server.listen(std::move(listeners)));
            });
            EXPECT_TRUE((*found)->take_over());
          });
          EXPECT_TRUE(run_until(loop, [&] { return old.taken_over == 1; }));
        }
        EchoServer& last = handed_over ? *next : old.echo;
        ASSERT_TRUE(client.send_all("hello"));
        std::string got;
        EXPECT_TRUE(run_until(loop, [&] {
          got += client.receive_exactly(5 - got.size(), Duration::zero());
          return got == "hello";
        }));
        client.close();
        bool done = false;
        last.server.shutdown(2s, [&] { done = true; });
        EXPECT_TRUE(run_until(loop, [&] { return done && (!handed_over || old.done); }));
        if (asking.joinable()) asking.join();
        old.hand_over.reset();
        std::filesystem::remove(folder.file("point"));
      }
      kept->close();
    }
  }
}

TEST(Adopting, OneSocketAndTheErrors) {
  EventLoop loop;
  EchoServer echo(loop);
  auto socket = ListeningSocket::open(SocketAddress::loopback_ipv4(0), {});
  ASSERT_TRUE(socket);
  const SocketAddress address = socket->address();
  const auto bound = echo.server.listen(std::move(*socket));
  ASSERT_TRUE(bound);
  EXPECT_EQ(*bound, address);
  serve_while(loop, [&] {
    TestClient client(address);
    EXPECT_TRUE(echoes(client));
  });
  EXPECT_DEATH(static_cast<void>(echo.server.listen(ListeningSocket())), "that is closed");
  bool done = false;
  echo.server.shutdown(1s, [&] { done = true; });
  EXPECT_TRUE(run_until(loop, [&] { return done; }));
  auto late = ListeningSocket::open(SocketAddress::loopback_ipv4(0), {});
  EXPECT_FALSE(echo.server.listen(std::move(*late)));
}

}  // namespace
}  // namespace weir::test
