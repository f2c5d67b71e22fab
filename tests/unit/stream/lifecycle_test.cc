// How connections end: every reason, from every place, exactly once.
#include <fcntl.h>
#include <gtest/gtest.h>

#include <cerrno>
#include <functional>
#include <memory>
#include <stdexcept>
#include <string>
#include <unordered_set>
#include <utility>
#include <vector>

#include "support/expect_log.h"
#include "support/tcp_harness.h"

namespace weir::test {
namespace {

using Kind = CloseReason::Kind;
using namespace std::chrono_literals;

// The places that the user's code runs in, and how to get there.
enum class Place { open, data, half_close, blocked, drained, close, timer, task };
constexpr Place kPlaces[] = {Place::open,    Place::data,  Place::half_close, Place::blocked,
                             Place::drained, Place::close, Place::timer,      Place::task};
const char* name(Place place) {
  constexpr const char* kNames[] = {"on_open",    "on_data",  "on_half_close", "on_blocked",
                                    "on_drained", "on_close", "timer",         "task"};
  return kNames[static_cast<int>(place)];
}

// Brings one connection to `place` and calls `act` there, once.
struct Scene {
  TcpHarness tcp;
  TestClient client;
  bool acted = false;

  Scene(Place place, Trigger trigger, std::function<void(TcpHarness&, TcpConnection*)> act)
      : tcp({.trigger = trigger, .high_water = 64 * 1024, .allow_half_open = true}) {
    const auto once = [this, act = std::move(act)](TcpConnection* c) {
      if (std::exchange(acted, true)) return;
      const int closed = tcp.calls.close;
      act(tcp, c);
      EXPECT_EQ(tcp.calls.close, closed) << "on_close inside the call that ends the connection";
    };
    const auto here = [once](TcpConnection& c) { once(&c); };
    switch (place) {
      case Place::open:
        tcp.on.open = here;
        break;
      case Place::data:
        tcp.on.data = [once](TcpConnection& c, Buffer& in) {
          c.send("answer");
          once(&c);
          in.clear();
        };
        break;
      case Place::half_close:
        tcp.on.half_close = here;
        break;
      case Place::blocked:
        tcp.on.blocked = here;
        break;
      case Place::drained:
        tcp.on.drained = here;
        break;
      case Place::close:
        tcp.on.close = [here](TcpConnection& c, CloseReason) { here(c); };
        break;
      case Place::timer:
      case Place::task:
        break;
    }
    const bool output = place == Place::blocked || place == Place::drained;
    if (output) tcp.on.open = [](TcpConnection& c) { shrink_send_buffer(c); };
    client.set_buffers(0, output ? 4096 : 0);
    client.connect(tcp.address);
    EXPECT_TRUE(tcp.until([&] { return tcp.calls.open == 1; }));
    go_on(place, once);
    EXPECT_TRUE(tcp.until([&] {
      client.receive_for(Duration::zero());
      return acted;
    }));
  }

  void go_on(Place place, const std::function<void(TcpConnection*)>& once) {
    if (place == Place::data) client.send_all("x");
    if (place == Place::half_close) client.shutdown_write();
    if (place == Place::close) client.reset();
    if (place == Place::blocked || place == Place::drained) tcp.ref().send(pattern(500'000));
    if (place == Place::timer) {
      tcp.loop.run_after(1ms, [this, once] { once(tcp.connection()); });
    }
    if (place == Place::task) {
      tcp.loop.post([this, once] { once(tcp.connection()); });
    }
  }
};

struct Deed {
  const char* name;
  std::function<void(TcpHarness&, TcpConnection*)> act;
  bool tells_close;  // the connection ends, and on_close says so
};

std::vector<Deed> deeds() {
  return {
      {"close", [](TcpHarness&, TcpConnection* c) { c->close(); }, true},
      {"abort", [](TcpHarness&, TcpConnection* c) { c->abort(); }, true},
      {"close_then_abort",
       [](TcpHarness&, TcpConnection* c) {
         c->close();
         c->abort();
         c->close();
       },
       true},
      {"send_then_close",
       [](TcpHarness&, TcpConnection* c) {
         c->send("bye");
         c->close();
       },
       true},
      {"server_destroyed", [](TcpHarness& tcp, TcpConnection*) { tcp.server.reset(); }, false},
      {"close_then_server_destroyed",
       [](TcpHarness& tcp, TcpConnection* c) {
         c->close();
         tcp.server.reset();
       },
       false},
      {"server_shutdown", [](TcpHarness& tcp, TcpConnection*) { tcp.server->shutdown(1s, [] {}); },
       true},
      {"refs_dropped",
       [](TcpHarness& tcp, TcpConnection* c) {
         tcp.refs.clear();
         c->close();
       },
       true},
      {"other_closed_too",
       [](TcpHarness& tcp, TcpConnection* c) {
         for (const ConnectionRef& ref : tcp.refs) ref.abort();
         c->close();
       },
       true},
  };
}

TEST(TcpConnection, F05_AnythingMayEndTheConnectionFromAnyCallback) {
  for (const Trigger trigger : kTriggers) {
    for (const Place place : kPlaces) {
      for (const Deed& deed : deeds()) {
        SCOPED_TRACE(std::string(test::name(trigger)) + " " + name(place) + " " + deed.name);
        Scene scene(place, trigger, deed.act);
        ASSERT_TRUE(scene.acted);
        if (scene.client.is_open()) {
          EXPECT_TRUE(scene.tcp.until([&] {
            scene.client.receive_for(Duration::zero());
            return scene.client.ended() != TestClient::End::open;
          }));
        }
        scene.client.close();
        const bool told = deed.tells_close || place == Place::close;
        if (told) {
          EXPECT_TRUE(scene.tcp.until_closed());
        }
        scene.tcp.turns(3);
        EXPECT_EQ(scene.tcp.calls.close, told ? 1 : 0);
        EXPECT_EQ(scene.tcp.connection(), nullptr);
        if (scene.tcp.server) {
          EXPECT_EQ(scene.tcp.server->connection_count(), 0u);
        }
      }
    }
  }
}

// As F05, while the same event also says OUT, ERR and HUP.
TEST(TcpConnection, F03_ReadHandlerEndsTheConnectionWhileOtherEventsAreSet) {
  for (const Trigger trigger : kTriggers) {
    for (const Deed& deed : deeds()) {
      for (const std::uint32_t more :
           {std::uint32_t{EPOLLOUT}, std::uint32_t{EPOLLERR}, std::uint32_t{EPOLLHUP},
            std::uint32_t{EPOLLRDHUP}, std::uint32_t{EPOLLOUT | EPOLLERR | EPOLLHUP}}) {
        for (const bool pending : {false, true}) {
          SCOPED_TRACE(std::string(test::name(trigger)) + " " + deed.name + " " +
                       std::to_string(more) + (pending ? " with output pending" : ""));
          TcpHarness tcp({.trigger = trigger});
          tcp.on.open = [](TcpConnection& c) { shrink_send_buffer(c); };
          TestClient client = tcp.connect(0, 4096);
          if (pending) {
            tcp.ref().send(pattern(300'000));
            tcp.turns(1);
          }
          bool acted = false;
          tcp.on.data = [&](TcpConnection& c, Buffer& in) {
            in.clear();
            ASSERT_FALSE(std::exchange(acted, true));
            deed.act(tcp, &c);
          };
          tcp.faults.edit_batches([more](std::vector<FaultTable::Event>& batch) {
            for (FaultTable::Event& event : batch) {
              if ((event.events & EPOLLIN) != 0) event.events |= more;
            }
          });
          client.send_all("x");
          // The waker's channel shares the batches; an event too many does not hurt it.
          ASSERT_TRUE(tcp.until([&] { return acted; }));
          tcp.faults.clear();
          client.reset();
          if (deed.tells_close) {
            EXPECT_TRUE(tcp.until_closed());
          }
          tcp.turns(3);
          EXPECT_EQ(tcp.calls.close, deed.tells_close ? 1 : 0);
        }
      }
    }
  }
}

// Server destroyed in each kind of callback, with connections of its own loops in full traffic.
TEST(TcpConnection, F06_ServerDestroyedInATaskWithConnectionsOnOtherLoops) {
  for (const AcceptMode accept :
       {AcceptMode::single, AcceptMode::reuse_port, AcceptMode::exclusive}) {
    for (const bool in_timer : {false, true}) {
      EventLoop loop;
      auto server =
          std::make_unique<TcpServer>(loop, TcpServer::Options{.threads = 2, .accept = accept});
      server->on_data([](TcpConnection& c, Buffer& in) { c.send(in); });
      const auto bound = server->listen("127.0.0.1:0");
      ASSERT_TRUE(bound);
      std::vector<TestClient> clients;
      for (int i = 0; i < 8; ++i) clients.emplace_back(*bound);
      ASSERT_TRUE(run_until(loop, [&] { return server->connection_count() == 8; }));
      for (TestClient& client : clients) client.send_all(pattern(20'000));
      bool destroyed = false;
      const auto destroy = [&] {
        server.reset();
        destroyed = true;
      };
      if (in_timer) {
        loop.run_after(1ms, destroy);
      } else {
        loop.post(destroy);
      }
      EXPECT_TRUE(run_until(loop, [&] { return destroyed; }));
      for (TestClient& client : clients) {
        EXPECT_NE(client.wait_for_end(), TestClient::End::open);
      }
    }
  }
}

// One server is destroyed in a callback of another's connection on the same loop, whose own
// connections have events in the same batch.
TEST(TcpConnection, F06_ServerDestroyedInAnotherServersCallback) {
  for (const Trigger trigger : kTriggers) {
    TcpHarness tcp({.trigger = trigger});
    auto other = std::make_unique<TcpServer>(tcp.loop, TcpServer::Options{.trigger = trigger});
    int told = 0;
    other->on_data([&](TcpConnection& c, Buffer& in) {
      ++told;
      c.send(in);
    });
    other->on_close([&](TcpConnection&, CloseReason) { ++told; });
    const auto bound = other->listen("127.0.0.1:0");
    ASSERT_TRUE(bound);
    TestClient ours = tcp.connect();
    std::vector<TestClient> theirs;
    for (int i = 0; i < 5; ++i) theirs.emplace_back(*bound);
    ASSERT_TRUE(tcp.until([&] { return other->connection_count() == 5; }));
    tcp.on.data = [&](TcpConnection&, Buffer& in) {
      in.clear();
      other.reset();
      told = 0;
    };
    ours.send_all("x");
    for (TestClient& client : theirs) client.send_all("y");
    ASSERT_TRUE(tcp.until([&] { return other == nullptr; }));
    tcp.turns(3);
    EXPECT_EQ(told, 0);
    for (TestClient& client : theirs) EXPECT_EQ(client.wait_for_end(), TestClient::End::reset);
    ours.send_all("still here");
    EXPECT_TRUE(tcp.until([&] { return tcp.calls.data == 2; }));
  }
}

TEST(TcpConnectionDeathTest, F06_ServerDestroyedFromAnotherThread) {
  EXPECT_DEATH(
      {
        EventLoop loop;
        TcpServer server(loop);
        on_other_thread([&] { server.~TcpServer(); });
      },
      "TcpServer::~TcpServer called from a thread that is not the loop's");
}

TEST(TcpConnectionDeathTest, F06_LoopDestroyedInsideItsOwnRun) {
  EXPECT_DEATH(
      {
        auto loop = std::make_unique<EventLoop>();
        loop->post([&] { loop.reset(); });
        loop->run();
      },
      "EventLoop destroyed inside its own run");
}

TEST(TcpConnectionDeathTest, F06_LoopDestroyedUnderAServer) {
  EXPECT_DEATH(
      {
        auto loop = std::make_unique<EventLoop>();
        TcpServer server(*loop);
        if (!server.listen("127.0.0.1:0")) return;
        loop.reset();
      },
      "EventLoop destroyed while 1 channels are still on it");
}

TEST(TcpConnectionDeathTest, F60_LoopOnlyCallsNameThemselvesOnTheWrongThread) {
  TcpHarness tcp;
  TestClient client = tcp.connect();
  TcpConnection& c = *tcp.connection();
  const auto elsewhere = [](const std::function<void()>& call) { on_other_thread(call); };
  EXPECT_DEATH(elsewhere([&] { c.send("x"); }), "TcpConnection::send called from a thread");
  EXPECT_DEATH(elsewhere([&] { c.send(SharedBytes::copy("x")); }), "TcpConnection::send called");
  EXPECT_DEATH(elsewhere([&] { c.send_file(Fd(::open("/dev/null", O_RDONLY)), 0, 1); }),
               "TcpConnection::send_file called from a thread");
  EXPECT_DEATH(elsewhere([&] { c.shutdown(); }), "TcpConnection::shutdown called from a thread");
  EXPECT_DEATH(elsewhere([&] { c.close(); }), "TcpConnection::close called from a thread");
  EXPECT_DEATH(elsewhere([&] { c.abort(); }), "TcpConnection::abort called from a thread");
  EXPECT_DEATH(elsewhere([&] { c.pause_reading(); }), "TcpConnection::pause_reading called");
  EXPECT_DEATH(elsewhere([&] { c.resume_reading(); }), "TcpConnection::resume_reading called");
  EXPECT_DEATH(c.resume_reading(), "resume_reading without a pause_reading before it");
}

TEST(TcpConnection, F62_AnExceptionFromAnyCallbackClosesThatConnectionOnly) {
  for (const Place place : {Place::open, Place::data, Place::half_close, Place::blocked,
                            Place::drained, Place::close}) {
    for (const bool standard : {true, false}) {
      SCOPED_TRACE(std::string(name(place)) + (standard ? " std" : " int"));
      const AllowLog log(std::string("an exception left ") + name(place));
      Scene scene(place, Trigger::level, [&](TcpHarness&, TcpConnection*) {
        if (standard) throw std::runtime_error("on purpose");
        throw 42;
      });
      EXPECT_TRUE(scene.tcp.until_closed());
      EXPECT_EQ(scene.tcp.calls.close, 1);
      EXPECT_EQ(scene.tcp.reason->kind, place == Place::close ? Kind::reset : Kind::handler_threw);
      TestClient other = scene.tcp.connect();
      scene.tcp.on.data = [](TcpConnection& c, Buffer& in) { c.send(in); };
      other.send_all("alive");
      EXPECT_EQ(scene.tcp.collect(other, 5), "alive");
      EXPECT_EQ(scene.tcp.server->connection_count(), 1u);
    }
  }
}

TEST(TcpConnection, F62_AnExceptionOutOfATaskLeavesRunAndTheServerGoesOn) {
  TcpHarness tcp;
  tcp.on.data = [](TcpConnection& c, Buffer& in) { c.send(in); };
  TestClient client = tcp.connect();
  client.send_all("kept");
  tcp.ref().post([](TcpConnection& c) { EXPECT_EQ(c.send("first "), SendResult::queued); });
  tcp.loop.post([] { throw std::runtime_error("of a task"); });
  EXPECT_THROW(tcp.loop.run(), std::runtime_error);
  EXPECT_EQ(tcp.collect(client, 10).size(), 10u);
}

// --- reasons that need no clock ------------------------------------------------------------------

TEST(TcpConnection, ReasonIsPeerEofWhenThePeerCloses) {
  TcpHarness tcp;
  TestClient client = tcp.connect();
  client.send_all("bytes");
  client.close();
  EXPECT_TRUE(tcp.until_closed());
  EXPECT_EQ(*tcp.reason, (CloseReason{Kind::peer_eof, {}}));
  EXPECT_EQ(tcp.received, "bytes");
  EXPECT_EQ(tcp.calls.half_close, 1);
}

TEST(TcpConnection, ReasonIsLocalCloseAndThePeerSeesEof) {
  for (const Trigger trigger : kTriggers) {
    TcpHarness tcp({.trigger = trigger});
    TestClient client = tcp.connect();
    tcp.ref().send("all of it");
    tcp.ref().close();
    EXPECT_EQ(tcp.connection()->state(), TcpConnection::State::closing);
    EXPECT_EQ(tcp.collect_all(client), "all of it");
    EXPECT_EQ(client.ended(), TestClient::End::eof);
    EXPECT_EQ(tcp.connection()->state(), TcpConnection::State::lingering);
    client.close();
    EXPECT_TRUE(tcp.until_closed());
    EXPECT_EQ(*tcp.reason, (CloseReason{Kind::local_close, {}}));
  }
}

TEST(TcpConnection, ReasonIsAbortedAndThePeerSeesReset) {
  TcpHarness tcp;
  TestClient client = tcp.connect();
  tcp.ref().abort();
  EXPECT_EQ(tcp.connection(), nullptr);
  EXPECT_EQ(tcp.calls.close, 0) << "told from inside the call";
  EXPECT_TRUE(tcp.until_closed());
  EXPECT_EQ(tcp.reason->kind, Kind::aborted);
  EXPECT_EQ(client.wait_for_end(), TestClient::End::reset);
}

TEST(TcpConnection, ReasonIsServerStoppedOnShutdown) {
  for (const Trigger trigger : kTriggers) {
    for (const bool paused : {false, true}) {
      TcpHarness tcp({.trigger = trigger});
      TestClient client = tcp.connect();
      if (paused) tcp.connection()->pause_reading();
      client.send_all("in time");
      bool done = false;
      tcp.server->shutdown(paused ? 100ms : 5s, [&] { done = true; });
      EXPECT_TRUE(tcp.until([&] {
        client.receive_for(Duration::zero());
        return client.ended() != TestClient::End::open;
      }));
      client.close();
      EXPECT_TRUE(tcp.until([&] { return done; }));
      EXPECT_EQ(tcp.reason->kind, Kind::server_stopped);
      EXPECT_EQ(tcp.received, paused ? "" : "in time");
    }
  }
}

// While a shutdown waits for what has arrived, output over the high mark stops the reading for a
// moment. It must be taken up again although no new byte comes.
TEST(TcpConnection, ShutdownGoesOnAfterBackPressure) {
  for (const Trigger trigger : kTriggers) {
    SCOPED_TRACE(test::name(trigger));
    TcpHarness tcp({.trigger = trigger, .high_water = 32 * 1024});
    tcp.on.open = [](TcpConnection& c) { shrink_send_buffer(c); };
    tcp.on.data = [](TcpConnection& c, Buffer& in) {
      in.clear();
      c.send(pattern(300'000));
    };
    TestClient client = tcp.connect(0, 4096);
    client.send_all("go");
    bool done = false;
    tcp.server->shutdown(3s, [&] { done = true; });
    EXPECT_TRUE(tcp.collect_all(client) == pattern(300'000));
    client.close();
    EXPECT_TRUE(tcp.until([&] { return done; }, 1s));
    EXPECT_EQ(tcp.reason->kind, Kind::server_stopped);
  }
}

TEST(TcpConnection, ReasonsHaveNames) {
  std::unordered_set<std::string> names;
  for (std::size_t i = 0; i < CloseReason::kKinds; ++i) {
    names.insert(std::string(to_string(static_cast<Kind>(i))));
  }
  EXPECT_EQ(names.size(), CloseReason::kKinds);
  EXPECT_EQ((CloseReason{Kind::reset, Errno(ECONNRESET)}.to_string()), "reset (ECONNRESET)");
  EXPECT_EQ((CloseReason{Kind::local_close, {}}.to_string()), "local_close");
}

// --- context, handler, identity ------------------------------------------------------------------

TEST(TcpConnection, ContextIsTypedAndDiesAfterOnClose) {
  TcpHarness tcp;
  TestClient client = tcp.connect();
  auto token = std::make_shared<int>(7);
  TcpConnection& c = *tcp.connection();
  EXPECT_EQ(c.context<int>(), nullptr);
  c.set_context<std::shared_ptr<int>>(token);
  ASSERT_NE(c.context<std::shared_ptr<int>>(), nullptr);
  EXPECT_EQ(c.context<std::string>(), nullptr);
  EXPECT_EQ(c.set_context<std::string>(3u, 'x'), "xxx");
  EXPECT_EQ(token.use_count(), 1) << "the first one is replaced";
  c.set_context<std::shared_ptr<int>>(token);
  tcp.on.close = [&](TcpConnection& closing, CloseReason) {
    ASSERT_NE(closing.context<std::shared_ptr<int>>(), nullptr);
    EXPECT_EQ(token.use_count(), 2);
  };
  c.abort();
  EXPECT_TRUE(tcp.until_closed());
  tcp.turns(1);
  EXPECT_EQ(token.use_count(), 1);
}

TEST(TcpConnection, HandlerCanBeReplacedWhileItRuns) {
  struct Upper final : ConnectionHandler {
    int closes = 0;
    void on_data(TcpConnection& c, Buffer& in) override { c.send("2:" + in.take()); }
    void on_close(TcpConnection&, CloseReason) override { ++closes; }
  } second;
  TcpHarness tcp;
  tcp.on.data = [&](TcpConnection& c, Buffer& in) {
    c.send("1:" + in.take(1));
    c.set_handler(second);  // what is left is the next protocol's
  };
  TestClient client = tcp.connect();
  client.send_all("ab");
  EXPECT_EQ(tcp.collect(client, 6), "1:a2:b");
  client.send_all("c");
  EXPECT_EQ(tcp.collect(client, 3), "2:c");
  client.reset();
  EXPECT_TRUE(tcp.until([&] { return second.closes == 1; }));
  EXPECT_EQ(tcp.calls.close, 0);
}

TEST(TcpConnection, RefsCompareHashAndFindTheirConnectionInOnClose) {
  TcpHarness tcp;
  std::vector<TestClient> clients;
  for (int i = 0; i < 3; ++i) clients.push_back(tcp.connect());
  const std::unordered_set<ConnectionRef> all(tcp.refs.begin(), tcp.refs.end());
  EXPECT_EQ(all.size(), 3u);
  EXPECT_NE(tcp.refs[0], tcp.refs[1]);
  EXPECT_EQ(tcp.refs[0], tcp.refs[0].get()->ref());
  EXPECT_EQ(tcp.refs[0].id(), tcp.refs[0].get()->id());
  EXPECT_EQ(ConnectionRef().id(), 0u);
  EXPECT_FALSE(ConnectionRef().send("x"));
  EXPECT_EQ(ConnectionRef().get(), nullptr);
  std::unordered_set<ConnectionRef> known = all;
  tcp.on.close = [&](TcpConnection& c, CloseReason) {
    EXPECT_EQ(known.erase(c.ref()), 1u) << "on_close is where one forgets the connection";
    EXPECT_FALSE(c.ref().send("x"));
    EXPECT_EQ(c.ref().get(), nullptr);
  };
  for (TestClient& client : clients) client.reset();
  EXPECT_TRUE(tcp.until_closed(3));
  EXPECT_TRUE(known.empty());
}

TEST(TcpConnection, IdsAreUniqueWhileDescriptorsAreUsedAgain) {
  TcpHarness tcp;
  std::unordered_set<std::uint64_t> ids;
  std::unordered_set<int> descriptors;
  for (int i = 0; i < 100; ++i) {
    TestClient client = tcp.connect();
    ids.insert(tcp.connection()->id());
    descriptors.insert(tcp.connection()->fd());
    client.reset();
    ASSERT_TRUE(tcp.until_closed(i + 1));
  }
  EXPECT_EQ(ids.size(), 100u);
  EXPECT_LT(descriptors.size(), 100u);
  for (const ConnectionRef& old : tcp.refs) EXPECT_EQ(old.get(), nullptr);
}

TEST(TcpConnection, RefsOutliveConnectionServerAndLoop) {
  ConnectionRef kept;
  {
    TcpHarness tcp;
    TestClient client = tcp.connect();
    kept = tcp.ref();
    EXPECT_TRUE(kept.send("x"));
    tcp.server.reset();
    EXPECT_FALSE(kept.send("x"));
    EXPECT_FALSE(kept.post([](TcpConnection&) { FAIL(); }));
    tcp.turns(2);
    EXPECT_FALSE(kept.close());
  }
  EXPECT_FALSE(kept.send("x"));
  EXPECT_FALSE(kept.send(SharedBytes::copy("x")));
  EXPECT_FALSE(kept.shutdown());
  EXPECT_FALSE(kept.close());
  EXPECT_FALSE(kept.abort());
  EXPECT_FALSE(kept.post([](TcpConnection&) { FAIL(); }));
  EXPECT_EQ(kept.get(), nullptr);
  EXPECT_NE(kept.id(), 0u);
  EXPECT_FALSE(on_other_thread([&] { return kept.send("x"); }));
}

TEST(TcpConnection, PostedFromAnotherThreadRunsOnTheLoop) {
  TcpHarness tcp;
  TestClient client = tcp.connect();
  bool ran = false;
  const bool posted = on_other_thread([&, ref = tcp.ref()] {
    EXPECT_EQ(ref.get(), nullptr) << "only on the loop's thread";
    return ref.post([&](TcpConnection& c) {
      ran = true;
      EXPECT_TRUE(c.loop().in_loop_thread());
      c.send("done");
    });
  });
  EXPECT_TRUE(posted);
  EXPECT_FALSE(ran);
  EXPECT_EQ(tcp.collect(client, 4), "done");
  EXPECT_TRUE(ran);
}

TEST(TcpConnection, AddressesAreThoseOfTheSocketAndHarmlessAfterAReset) {
  TcpHarness tcp;
  TestClient client = tcp.connect();
  EXPECT_EQ(tcp.connection()->peer_address(), client.local_address());
  EXPECT_EQ(tcp.connection()->local_address(), tcp.address);
  EXPECT_TRUE(tcp.connection()->tcp_info());
  bool asked = false;
  tcp.on.close = [&](TcpConnection& c, CloseReason) {
    asked = true;
    EXPECT_FALSE(c.peer_address().is_unix());
    static_cast<void>(c.tcp_info());
    EXPECT_EQ(c.bytes_in(), 5u);
    EXPECT_EQ(c.bytes_out(), 0u);
  };
  client.send_all("bytes");
  client.reset();
  EXPECT_TRUE(tcp.until_closed());
  EXPECT_TRUE(asked);
}

}  // namespace
}  // namespace weir::test
