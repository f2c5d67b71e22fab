// F63: the nth allocation of a scenario fails, for every n that there is. Nobody crashes, nothing
// is left behind, at worst the connection that needed the memory ends, and what comes after is
// served.
#include <gtest/gtest.h>

#include <csignal>
#include <cstdint>
#include <functional>
#include <initializer_list>
#include <memory>
#include <new>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "support/allocations.h"
#include "support/expect_log.h"
#include "support/loops.h"
#include "support/tcp_harness.h"
#include "weir/net/reactor/signal_set.h"
#include "weir/net/route/broadcast.h"
#include "weir/net/stream/buffer_budget.h"
#include "weir/net/stream/producer.h"
#include "weir/net/tcp/tcp_client.h"
#include "weir/net/udp/udp_server.h"
#include "weir/net/udp/udp_socket.h"

namespace weir::test {
namespace {

using namespace std::chrono_literals;

constexpr std::uint64_t kMostAllocations = 1000;  // of a scenario, so that the loop below ends

// Runs `step` with the nth allocation failing, whichever way that comes out of it. False: it made
// fewer than n.
bool step_fails_at(std::uint64_t n, const std::function<void()>& step) {
  const FailAllocation fail(n);
  try {
    step();
  } catch (const std::bad_alloc&) {  // of the loop's own, or of the caller's; both may go on
  }
  return fail.happened();
}

// Makes a new scene for each n, and calls `step` on it with the nth allocation failing, then
// `after`. Returns how many n there were.
template <typename Scene>
std::uint64_t for_each_allocation(const std::function<void(Scene&)>& step,
                                  const std::function<void(Scene&)>& after) {
  for (std::uint64_t n = 1; n < kMostAllocations; ++n) {
    SCOPED_TRACE("allocation " + std::to_string(n));
    const AllowLog no_memory("memory");
    const AllowLog threw("an exception left");
    Scene scene;
    const bool happened = step_fails_at(n, [&] { step(scene); });
    run_turns(scene.loop(), 3);  // also past a stop() that was posted by a turn which threw
    after(scene);
    if (!happened || ::testing::Test::HasFailure()) return n - 1;
  }
  ADD_FAILURE() << "more than " << kMostAllocations << " allocations";
  return kMostAllocations;
}

struct Connected {
  Connected() : neighbour(tcp.connect()) {
    tcp.on.open = shrink_send_buffer;
    client = tcp.connect();
    tcp.on.data = [](TcpConnection& c, Buffer& in) { c.send(in); };
  }
  EventLoop& loop() { return tcp.loop; }

  // All of `expected` comes, or less and the connection was reset. The neighbour talks on.
  // (A client that sends meanwhile may have met the reset there.)
  void expect_whole_or_ended(std::string_view expected, bool client_sends = false) {
    std::string got;
    EXPECT_TRUE(tcp.until([&] {
      got += client.receive_for(Duration::zero());
      return got.size() >= expected.size() || client.ended() != TestClient::End::open;
    })) << "neither answered nor ended, "
        << got.size() << " of " << expected.size();
    EXPECT_TRUE(expected.starts_with(got)) << "not what was sent";
    if (got.size() < expected.size() && !client_sends) {
      EXPECT_EQ(client.ended(), TestClient::End::reset) << "a part that looks complete";
    }
    EXPECT_TRUE(neighbour.send_all("ping"));
    EXPECT_EQ(tcp.collect(neighbour, 4), "ping");
  }

  TcpHarness tcp;
  TestClient neighbour;
  TestClient client;
  std::string sent;
};

class Allocations : public ::testing::Test {
 protected:
  void SetUp() override {
    if (!AllocationCount::available()) GTEST_SKIP() << "the sanitizer's operator new is in use";
  }
};

TEST_F(Allocations, F63_WhileOutputWaits) {
  const std::uint64_t count = for_each_allocation<Connected>(
      [](Connected& scene) {
        scene.sent = pattern(2'000'000);
        scene.tcp.connection()->send(scene.sent);
        run_turns(scene.loop(), 3);
      },
      [](Connected& scene) { scene.expect_whole_or_ended(scene.sent); });
  EXPECT_GE(count, 3u);
}

TEST_F(Allocations, F63_WhileInputIsLeft) {
  const std::uint64_t count = for_each_allocation<Connected>(
      [](Connected& scene) {
        scene.tcp.on.data = [](TcpConnection&, Buffer&) {};
        for (const char* part : {"some", "of a", "line"}) {
          if (scene.client.send_all(part)) scene.sent += part;
          run_turns(scene.loop(), 2);
        }
      },
      [](Connected& scene) {
        scene.tcp.on.data = [](TcpConnection& c, Buffer& in) { c.send(in); };
        if (scene.client.send_all("!")) scene.sent += "!";
        scene.expect_whole_or_ended(scene.sent, true);
      });
  EXPECT_GE(count, 3u);
}

TEST_F(Allocations, F63_SharedMessages) {
  const std::string text = pattern(10'000);
  const SharedBytes message = SharedBytes::copy(text);
  const std::uint64_t count = for_each_allocation<Connected>(
      [&](Connected& scene) {
        for (int i = 0; i < 20; ++i) {
          scene.sent += text;
          if (scene.tcp.connection()->send(message) == SendResult::closed) return;
        }
        run_turns(scene.loop(), 3);
      },
      [](Connected& scene) { scene.expect_whole_or_ended(scene.sent); });
  EXPECT_GE(count, 3u);
}

struct Bare {
  EventLoop& loop() { return own; }

  EventLoop own;
  int ran = 0;
};

// post() and run_after() throw to the caller; tasks that were accepted before are run.
TEST_F(Allocations, F63_TimersAndTasks) {
  const std::uint64_t count = for_each_allocation<Bare>(
      [](Bare& scene) {
        scene.own.post([&scene] { ++scene.ran; });
        for (int i = 0; i < 40; ++i) scene.own.run_after(0ms, [&scene] { ++scene.ran; });
        run_turns(scene.own, 3);
      },
      [](Bare& scene) {
        const int before = scene.ran;
        scene.own.post([&scene] { ++scene.ran; });
        scene.own.run_after(0ms, [&scene] { ++scene.ran; });
        EXPECT_TRUE(run_until(scene.own, [&] { return scene.ran == before + 2; }));
      });
  EXPECT_GE(count, 2u);
}

// A timer that repeats goes on also when others take the memory meanwhile.
TEST_F(Allocations, F63_RepeatingTimers) {
  for_each_allocation<Bare>(
      [](Bare& scene) {
        scene.own.run_every(1ns, [&scene] { ++scene.ran; });
        const TimerId cancelled = scene.own.run_after(1h, [] {});
        for (int i = 0; i < 100; ++i) scene.own.run_after(0ms, [] {});
        scene.own.cancel(cancelled);
        run_turns(scene.own, 3);
      },
      [](Bare& scene) {
        const int before = scene.ran;
        run_turns(scene.own, 3);
        // It was not set, or it goes on.
        if (before > 0) {
          EXPECT_GT(scene.ran, before);
        }
      });
}

// Memory runs out, too, while connections begin to wait for the budget and go on again.
TEST_F(Allocations, F63_WhileTheBudgetIsSpent) {
  struct Scene {
    Scene() {
      tcp.on.data = [](TcpConnection&, Buffer&) {};
      for (int i = 0; i < 3; ++i) clients.push_back(tcp.connect());
    }
    EventLoop& loop() { return tcp.loop; }

    const AllowLog spent{"the budget of buffered bytes is spent"};
    TcpHarness tcp{{.max_buffered_per_loop = 450'000}};
    std::vector<TestClient> clients;
  };
  const std::string half(200'000, 'x');
  const std::uint64_t count = for_each_allocation<Scene>(
      [&](Scene& scene) {
        for (TestClient& client : scene.clients) {
          client.send_some(half, 0ms);
          run_turns(scene.loop(), 3);
        }
        scene.clients[0].reset();  // those that wait go on
        run_turns(scene.loop(), 5);
      },
      [](Scene& scene) {
        for (std::size_t i = 0; i < 2; ++i) scene.clients[i].reset();
        EXPECT_TRUE(scene.tcp.until([&] { return scene.tcp.calls.close >= 2; }));
        std::size_t taken = 0;
        scene.tcp.on.data = [&](TcpConnection&, Buffer& in) {
          taken += in.size();
          in.clear();
        };
        TestClient& last = scene.clients[2];
        EXPECT_TRUE(scene.tcp.until([&] {
          last.send_some("x", Duration::zero());
          return taken > 0 || last.ended() != TestClient::End::open || scene.tcp.calls.close == 3;
        }));
        TestClient next = scene.tcp.connect();
        EXPECT_TRUE(next.send_all("next"));
        taken = 0;
        EXPECT_TRUE(scene.tcp.until([&] { return taken >= 4; }));
        scene.tcp.server.reset();
        run_turns(scene.loop(), 2);
        EXPECT_EQ(buffered_bytes(), 0u);
      });
  EXPECT_GE(count, 5u);
}

// After on_open comes on_close, once, and every counter of open connections goes down.
TEST_F(Allocations, F63_WhileConnectionsBegin) {
  struct Scene : Connected {
    Scene() {
      server.on_open([this](TcpConnection&) { ++opened; });
      server.on_close([this](TcpConnection&, CloseReason) { ++closed; });
      address = *server.listen("127.0.0.1:0");
    }
    TcpServer server{tcp.loop, {.max_connections_per_peer = 100}};
    SocketAddress address;
    std::vector<TestClient> clients;
    int opened = 0;
    int closed = 0;
  };
  const std::uint64_t count = for_each_allocation<Scene>(
      [](Scene& scene) {
        for (int i = 0; i < 5; ++i) scene.clients.emplace_back(scene.address);
        run_turns(scene.loop(), 3);
      },
      [](Scene& scene) {
        for (TestClient& client : scene.clients) client.close();
        EXPECT_TRUE(scene.tcp.until([&] { return scene.server.connection_count() == 0; }));
        EXPECT_EQ(scene.opened, scene.closed);
      });
  EXPECT_GE(count, 5u);
}

// Ends of connections, of which one is held by another and one is watched, with a client that comes
// back and a server that waits for all of it.
TEST_F(Allocations, F63_WhileConnectionsEnd) {
  struct Scene : Connected {
    Scene() {
      server.on_open([this](TcpConnection& c) {
        ++opened;
        room.join(c);
      });
      server.on_close([this](TcpConnection&, CloseReason) { ++closed; });
      address = *server.listen("127.0.0.1:0");
      outgoing.on_connect_error([this](const Error&, int) { ++failed; });
      EXPECT_TRUE(outgoing.connect({address}));
      for (int i = 0; i < 5; ++i) clients.emplace_back(address);
      EXPECT_TRUE(tcp.until([&] { return opened == 6; }));
    }
    Broadcast room;
    TcpServer server{tcp.loop};
    TcpClient outgoing{tcp.loop, {.reconnect = {.initial = 1ms}}};
    SocketAddress address;
    std::vector<TestClient> clients;
    int opened = 0;
    int closed = 0;
    int failed = 0;
  };
  const std::uint64_t count = for_each_allocation<Scene>(
      [](Scene& scene) {
        for (TestClient& client : scene.clients) client.reset();
        scene.server.shutdown(1s, nullptr);
        run_turns(scene.loop(), 4);
      },
      [](Scene& scene) {
        EXPECT_TRUE(scene.tcp.until([&] { return scene.server.connection_count() == 0; }));
        EXPECT_TRUE(scene.tcp.until([&] { return scene.opened == scene.closed; }));
        // It tries again, or says that it does not.
        EXPECT_TRUE(scene.tcp.until([&] {
          return scene.failed > 0 || scene.outgoing.state() != TcpClient::State::connected;
        }));
        if (scene.failed == 0) {
          EXPECT_NE(scene.outgoing.state(), TcpClient::State::idle);
        }
      });
  EXPECT_GE(count, 1u);
}

// Many, so that the tasks which call on_room need more places than the mailbox has.
TEST_F(Allocations, F63_ProducersSendToAConnectionThatHasJustEnded) {
  constexpr std::size_t kProducers = 40;
  struct Scene : Connected {
    Scene() {
      for (std::size_t i = 0; i < kProducers; ++i) {
        producers.push_back(std::make_unique<Producer>(tcp.ref()));
        producers[i]->on_room([this, i] { ++told[i]; });
      }
      tcp.on.data = [this](TcpConnection& c, Buffer& in) {
        in.clear();
        c.abort();
        for (const auto& producer : producers) {
          try {
            static_cast<void>(producer->try_send(message));
          } catch (const std::bad_alloc&) {
            continue;
          }
        }
      };
    }
    const SharedBytes message = SharedBytes::copy("hello");
    std::vector<std::unique_ptr<Producer>> producers;
    std::vector<int> told = std::vector<int>(kProducers);
  };
  const std::uint64_t count = for_each_allocation<Scene>(
      [](Scene& scene) {
        scene.client.send_all("x");
        run_turns(scene.loop(), 3);
      },
      [](Scene& scene) {
        EXPECT_TRUE(scene.tcp.until([&] { return scene.tcp.calls.close == 1; }));
        run_turns(scene.loop(), 2);
        for (std::size_t i = 0; i < kProducers; ++i) {
          EXPECT_TRUE(scene.producers[i]->ended());
          EXPECT_EQ(scene.producers[i]->pending(), 0u);
          EXPECT_EQ(scene.told[i], 1) << "producer " << i;
        }
      });
  EXPECT_GE(count, kProducers);
}

// `done` is called, at the latest after the deadline.
TEST_F(Allocations, F63_ShuttingDown) {
  struct Scene : Connected {
    Scene() { other.emplace(tcp.loop); }
    std::optional<TcpServer> other;  // without connections
    int asked = 0;
    int done = 0;
  };
  const std::uint64_t count = for_each_allocation<Scene>(
      [](Scene& scene) {
        EXPECT_TRUE(scene.other->listen("127.0.0.1:0"));
        for (TcpServer* server : {&*scene.other, &*scene.tcp.server}) {
          server->shutdown(100ms, [&scene] { ++scene.done; });
          ++scene.asked;
        }
        for (int i = 0; i < 5; ++i) pass(scene.tcp, 30ms);
      },
      [](Scene& scene) {
        EXPECT_TRUE(scene.tcp.until([&] { return scene.done == scene.asked; }));
      });
  EXPECT_GE(count, 5u);
}

// An attempt that fails is reported, though perhaps only after it was made once more.
TEST_F(Allocations, F63_ARefusedConnect) {
  struct Scene {
    Scene() { tcp.server.reset(); }
    EventLoop& loop() { return tcp.loop; }
    TcpHarness tcp;  // for an address that refuses
    TcpClient client{tcp.loop, {.connect_timeout = 0s}};
    bool begun = false;
    int failed = 0;
  };
  const std::uint64_t count = for_each_allocation<Scene>(
      [](Scene& scene) {
        scene.client.on_connect_error([&scene](const Error&, int) { ++scene.failed; });
        scene.begun = scene.client.connect(scene.tcp.address).has_value();
        run_turns(scene.loop(), 5);
      },
      [](Scene& scene) {
        if (!scene.begun) return;
        EXPECT_TRUE(scene.tcp.until([&] { return scene.failed == 1; }));
        EXPECT_EQ(scene.client.state(), TcpClient::State::idle);
      });
  EXPECT_GE(count, 5u);
}

// There is no memory at all while they run.
TEST_F(Allocations, F63_Destructors) {
  struct Scene {
    Scene() {
      tcp.on.data = [](TcpConnection&, Buffer&) {};
      client.emplace(tcp.loop);
      EXPECT_TRUE(client->connect(tcp.address));
      EXPECT_TRUE(tcp.until([&] { return client->stats().opened == 1; }));
      socket.emplace(tcp.loop);
      EXPECT_TRUE(socket->bind("127.0.0.1:0"));
      udp.emplace(tcp.loop);
      EXPECT_TRUE(udp->listen("127.0.0.1:0"));
      signals.emplace(tcp.loop, std::initializer_list<int>{SIGUSR1}, [](int) {});
    }
    TcpHarness tcp;
    std::optional<TcpClient> client;
    std::optional<UdpSocket> socket;
    std::optional<UdpServer> udp;
    std::optional<SignalSet> signals;
  };
  Scene scene;
  {
    const FailAllocation all(1, kMostAllocations);
    scene.client.reset();
    scene.socket.reset();
    scene.udp.reset();
    scene.signals.reset();
    scene.tcp.server.reset();
    EXPECT_EQ(all.failures(), 0u);
  }
  run_turns(scene.tcp.loop, 2);
}

// A server that could not be started is no half server: the next attempt works.
TEST_F(Allocations, F63_Listening) {
  struct Scene : Bare {
    Scene() {
      server.on_data([](TcpConnection& c, Buffer& in) { c.send(in); });
    }
    TcpServer server{own};
  };
  const std::uint64_t count = for_each_allocation<Scene>(
      [](Scene& scene) { static_cast<void>(scene.server.listen("127.0.0.1:0")); },
      [](Scene& scene) {
        const auto address = scene.server.listen("127.0.0.1:0");
        ASSERT_TRUE(address) << address.error().message();
        TestClient client(*address);
        client.send_all("ping");
        std::string got;
        EXPECT_TRUE(run_until(scene.own, [&] {
          got += client.receive_for(Duration::zero());
          return got == "ping";
        }));
      });
  EXPECT_GE(count, 5u);
}

TEST_F(Allocations, F63_MakingALoop) {
  std::uint64_t failures = 0;
  for (std::uint64_t n = 1; n < kMostAllocations; ++n) {
    SCOPED_TRACE("allocation " + std::to_string(n));
    const HeapCheck nothing_left;
    if (!step_fails_at(n, [] { static_cast<void>(EventLoop::create()); })) break;
    ++failures;
  }
  EXPECT_GE(failures, 1u);
}

}  // namespace
}  // namespace weir::test
