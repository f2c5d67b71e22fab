// Handlers that a connection owns, its protocol slot, and deadlines of its own.
#include <gtest/gtest.h>

#include <chrono>
#include <memory>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

#include "support/client_harness.h"
#include "support/expect_log.h"
#include "support/tcp_harness.h"

namespace weir {
namespace {

using namespace std::chrono_literals;
using test::kTriggers;
using test::name;
using test::pass;
using test::TcpHarness;
using test::TestClient;
using Kind = CloseReason::Kind;

// Counts how many of it live, and notes what it gets.
struct Log {
  int alive = 0;
  std::string text;
};
class Noting : public ConnectionHandler {
 public:
  Noting(Log& log, std::string name) : log_(log), name_(std::move(name)) { ++log_.alive; }
  ~Noting() override {
    --log_.alive;
    log_.text += "~" + name_;
  }
  Noting(const Noting&) = delete;
  Noting& operator=(const Noting&) = delete;

  void on_open(TcpConnection&) override { log_.text += name_ + ".open "; }
  void on_data(TcpConnection& c, Buffer& in) override { c.send(name_ + ":" + in.take()); }
  void on_close(TcpConnection&, CloseReason) override { log_.text += name_ + ".close "; }

 protected:
  Log& log_;
  const std::string name_;
};

// A server or client with a handler for each connection.
struct Served {
  explicit Served(std::function<std::unique_ptr<ConnectionHandler>(TcpConnection&)> factory) {
    server.emplace(loop, test::over_test_transport({}));
    server->handlers_per_connection(std::move(factory));
    address = *server->listen("127.0.0.1:0");
  }
  ~Served() { server.reset(); }
  bool until(const std::function<bool()>& done) { return test::run_until(loop, done); }
  std::string ask(TestClient& client, std::string_view question, std::size_t answer) {
    EXPECT_TRUE(client.send_all(question));
    std::string got;
    EXPECT_TRUE(until([&] {
      got += client.receive_exactly(answer - got.size(), 0s);
      return got.size() == answer || client.ended() != TestClient::End::open;
    }));
    return got;
  }

  EventLoop loop;
  std::optional<TcpServer> server;
  SocketAddress address;
};

TEST(OwnedHandler, EachConnectionHasOneUntilAfterItsOnClose) {
  Log log;
  int made = 0;
  Served served([&](TcpConnection& c) {
    EXPECT_EQ(c.state(), TcpConnection::State::open);
    return std::make_unique<Noting>(log, std::to_string(made++));
  });
  TestClient first(served.address);
  ASSERT_TRUE(served.until([&] { return log.alive == 1; }));
  TestClient second(served.address);
  ASSERT_TRUE(served.until([&] { return log.alive == 2; }));
  EXPECT_EQ(served.ask(second, "x", 3), "1:x");
  EXPECT_EQ(served.ask(first, "y", 3), "0:y");
  first.close();
  ASSERT_TRUE(served.until([&] { return log.alive == 1; }));
  EXPECT_EQ(log.text, "0.open 1.open 0.close ~0");
  EXPECT_EQ(served.ask(second, "z", 3), "1:z");
  served.server.reset();  // resets what is open, and calls nothing
  test::run_turn(served.loop);
  EXPECT_EQ(log.alive, 0);
  EXPECT_EQ(log.text, "0.open 1.open 0.close ~0~1");
}

TEST(OwnedHandler, AFactoryThatThrowsCostsThatConnectionAlone) {
  Log log;
  bool fails = true;
  Served served([&](TcpConnection&) -> std::unique_ptr<ConnectionHandler> {
    if (fails) throw std::runtime_error("no handler today");
    return std::make_unique<Noting>(log, "n");
  });
  const test::ExpectLog warning("no handler today");
  TestClient first(served.address);
  EXPECT_TRUE(served.until([&] { return served.server->stats().closed_by(Kind::handler_threw); }));
  fails = false;
  TestClient second(served.address);
  EXPECT_EQ(served.ask(second, "x", 3), "n:x");
}

TEST(OwnedHandler, AFactoryMayRefuseByClosing) {
  Log log;
  Served served([&](TcpConnection& c) {
    c.close();
    return std::make_unique<Noting>(log, "n");
  });
  TestClient client(served.address);
  EXPECT_TRUE(served.until([&] {
    return served.server->stats().closed_by(Kind::local_close) == 1 ||
           client.wait_for_end(0s) == TestClient::End::eof;
  }));
  client.close();
  EXPECT_TRUE(served.until([&] { return log.text == "n.open n.close ~n"; }));
}

TEST(OwnedHandler, AClientHasANewOneForEachConnection) {
  TcpHarness server;
  Log log;
  int made = 0;
  test::ClientHarness tcp;
  EventLoop& loop = server.loop;
  TcpClient client(loop);
  client.handlers_per_connection(
      [&](TcpConnection&) { return std::make_unique<Noting>(log, std::to_string(made++)); });
  for (int i = 0; i < 2; ++i) {
    ASSERT_TRUE(client.connect(server.address));
    ASSERT_TRUE(server.until([&] { return server.calls.open == i + 1 && log.alive == 1; }));
    client.close();
    ASSERT_TRUE(server.until([&] { return log.alive == 0; }));
  }
  EXPECT_EQ(log.text, "0.open 0.close ~01.open 1.close ~1");
}

// It uses its members after it was replaced, which AddressSanitizer watches.
TEST(OwnedHandler, ReplacesItselfWhileItRuns) {
  class Upgrading final : public Noting {
   public:
    using Noting::Noting;
    void on_data(TcpConnection& c, Buffer& in) override {
      in.clear();
      c.set_handler(std::make_unique<Noting>(log_, "b"));
      c.set_handler(std::make_unique<Noting>(log_, "c"));
      c.send(name_ + " was replaced");
      log_.text += name_ + " ";
    }
  };
  for (const Trigger trigger : kTriggers) {
    SCOPED_TRACE(name(trigger));
    Log log;
    TcpHarness tcp({.trigger = trigger});
    tcp.on.open = [&](TcpConnection& c) { c.set_handler(std::make_unique<Upgrading>(log, "a")); };
    TestClient client = tcp.connect();
    ASSERT_TRUE(client.send_all("up"));
    EXPECT_EQ(tcp.collect(client, 14), "a was replaced");
    tcp.turns(1);
    EXPECT_EQ(log.alive, 1);
    EXPECT_EQ(log.text, "a ~a~b") << "by the end of the turn, and no sooner";
    ASSERT_TRUE(client.send_all("x"));
    EXPECT_EQ(tcp.collect(client, 3), "c:x");
    Noting outer(log, "d");
    tcp.connection()->set_handler(outer);
    tcp.turns(1);
    EXPECT_EQ(log.alive, 1) << "what is not owned takes the place of what is, too";
    client.reset();
    EXPECT_TRUE(tcp.until([&] { return log.text == "a ~a~b~cd.close "; }));
  }
}

// Not from one of the connection's events, so nothing but the turn's end can tell that it is over.
TEST(OwnedHandler, ReplacesItselfFromATimer) {
  class Later final : public Noting {
   public:
    using Noting::Noting;
    void upgrade(TcpConnection& c) {
      c.set_handler(std::make_unique<Noting>(log_, "b"));
      log_.text += name_ + " ";
    }
  };
  Log log;
  TcpHarness tcp;
  tcp.on.open = [&](TcpConnection& c) {
    auto made = std::make_unique<Later>(log, "a");
    Later& later = *made;
    c.set_handler(std::move(made));
    c.loop().run_after(1ms, [&later, ref = c.ref()] { later.upgrade(*ref.get()); });
  };
  TestClient client = tcp.connect();
  EXPECT_TRUE(tcp.until([&] { return log.text == "a ~a"; }));
  tcp.connection()->abort();
  EXPECT_TRUE(tcp.until([&] { return log.text == "a ~ab.close ~b"; }));
}

TEST(OwnedHandler, IsReplacedAsItCloses) {
  class Closing final : public Noting {
   public:
    using Noting::Noting;
    void on_data(TcpConnection& c, Buffer& in) override {
      in.clear();
      c.abort();
      c.set_handler(std::make_unique<Noting>(log_, "b"));
      log_.text += name_ + " ";
    }
  };
  Log log;
  TcpHarness tcp;
  tcp.on.open = [&](TcpConnection& c) { c.set_handler(std::make_unique<Closing>(log, "a")); };
  TestClient client = tcp.connect();
  ASSERT_TRUE(client.send_all("x"));
  EXPECT_TRUE(tcp.until([&] { return log.text == "a b.close ~a~b"; })) << log.text;
}

TEST(OwnedHandler, MayReplaceItsSuccessorAsItIsDestroyed) {
  class Stubborn final : public Noting {
   public:
    using Noting::Noting;
    ~Stubborn() override {
      if (connection != nullptr) connection->set_handler(std::make_unique<Noting>(log_, "c"));
    }
    TcpConnection* connection = nullptr;
  };
  Log log;
  TcpHarness tcp;
  TestClient client = tcp.connect();
  TcpConnection& c = *tcp.connection();
  auto made = std::make_unique<Stubborn>(log, "a");
  made->connection = &c;
  c.set_handler(std::move(made));
  c.set_handler(std::make_unique<Noting>(log, "b"));
  EXPECT_TRUE(tcp.until([&] { return log.text == "~a~b"; })) << log.text;
  ASSERT_TRUE(client.send_all("x"));
  EXPECT_EQ(tcp.collect(client, 3), "c:x");
}

// All of it after on_close: what is asked for then is answered, and leads nowhere.
TEST(OwnedHandler, IsNotThereAnyMoreForTheDestructorsOfProtocolAndContext) {
  struct Asks {
    TcpConnection& connection;
    std::string& order;
    ~Asks() {
      order += connection.handler() == nullptr ? "none " : "dangling ";
      connection.set_handler(std::make_unique<ConnectionHandler>());
    }
  };
  std::string order;
  TcpHarness tcp;
  TestClient client = tcp.connect();
  TcpConnection& c = *tcp.connection();
  c.set_handler(std::make_unique<ConnectionHandler>());
  c.set_protocol<Asks>(c, order);
  c.set_context<Asks>(c, order);
  c.abort();
  EXPECT_TRUE(tcp.until([&] { return order == "none none "; })) << order;
}

TEST(OwnedHandler, IsNotCalledIfTheServerIsDestroyedBeforeItIsSet) {
  Log log;
  TcpHarness tcp;
  tcp.on.data = [&](TcpConnection& c, Buffer& in) {
    in.clear();
    tcp.server.reset();
    c.set_handler(std::make_unique<Noting>(log, "a"));
  };
  TestClient client = tcp.connect();
  ASSERT_TRUE(client.send_all("x"));
  EXPECT_TRUE(tcp.until([&] { return log.text == "~a"; })) << log.text;
}

TEST(OwnedHandler, IsNotCalledIfItsFactoryDestroysTheServer) {
  Log log;
  std::optional<TcpServer>* server = nullptr;
  Served served([&](TcpConnection&) {
    server->reset();
    return std::make_unique<Noting>(log, "a");
  });
  server = &served.server;
  TestClient client(served.address);
  EXPECT_TRUE(served.until([&] { return log.text == "~a"; })) << log.text;
}

TEST(OwnedHandler, GetsWhatItsPredecessorHasLeft) {
  for (const Trigger trigger : kTriggers) {
    SCOPED_TRACE(name(trigger));
    Log log;
    TcpHarness tcp({.trigger = trigger});
    tcp.on.data = [&](TcpConnection& c, Buffer& in) {
      tcp.received += in.take(1);
      c.set_handler(std::make_unique<Noting>(log, "b"));
    };
    TestClient client = tcp.connect();
    ASSERT_TRUE(client.send_all("12345"));
    client.shutdown_write();  // nothing more comes
    EXPECT_EQ(tcp.collect_all(client), "b:2345");
    EXPECT_EQ(tcp.received, "1");
  }
}

TEST(OwnedHandler, MayBeSetOnceMoreByReference) {
  Log log;
  TcpHarness tcp;
  TestClient client = tcp.connect();
  TcpConnection& c = *tcp.connection();
  c.set_handler(std::make_unique<Noting>(log, "a"));
  c.set_handler(*c.handler());
  tcp.turns(2);
  EXPECT_EQ(log.alive, 1);
  ASSERT_TRUE(client.send_all("x"));
  EXPECT_EQ(tcp.collect(client, 3), "a:x");
}

TEST(OwnedHandler, MustBeThere) {
  TcpHarness tcp;
  TestClient client = tcp.connect();
  EXPECT_DEATH(tcp.connection()->set_handler(std::unique_ptr<ConnectionHandler>()),
               "the handler is null");
}

// --- the protocol slot ---------------------------------------------------------------------------

TEST(ProtocolSlot, StandsBesideTheContextAndGoesBeforeIt) {
  struct Named {
    std::string& order;
    std::string name;
    ~Named() { order += name; }
  };
  struct Last final : ConnectionHandler {
    explicit Last(std::string& of) : order(of) {}
    ~Last() override { order += "handler "; }
    std::string& order;
  };
  std::string order;
  TcpHarness tcp;
  tcp.on.open = [&](TcpConnection& c) {
    EXPECT_EQ(c.protocol<int>(), nullptr);
    c.set_context<Named>(order, "context");
    c.set_protocol<int>(3);
    EXPECT_EQ(*c.protocol<int>(), 3);
    EXPECT_EQ(c.protocol<long>(), nullptr);
    c.set_protocol<Named>(order, "protocol ");
    EXPECT_EQ(c.protocol<int>(), nullptr);
    EXPECT_EQ(c.context<Named>()->name, "context");
    EXPECT_EQ(c.protocol<Named>()->name, "protocol ");
    c.set_handler(std::make_unique<Last>(order));
  };
  TestClient client = tcp.connect();
  EXPECT_EQ(order, "");
  tcp.connection()->abort();
  EXPECT_TRUE(tcp.until([&] { return order == "handler protocol context"; })) << order;
}

// --- deadlines of one connection -----------------------------------------------------------------

TEST(OwnDeadlines, IdleTimeoutIsSetAndLifted) {
  for (const Trigger trigger : kTriggers) {
    for (const Duration before : {Duration(0s), Duration(60s)}) {
      SCOPED_TRACE(name(trigger));
      TcpHarness tcp({.trigger = trigger, .idle_timeout = before});
      TestClient client = tcp.connect();
      tcp.connection()->set_idle_timeout(0s);
      pass(tcp, 1h);
      ASSERT_EQ(tcp.calls.close, 0);
      tcp.connection()->set_idle_timeout(2h);  // an hour of it has passed
      pass(tcp, 50min);
      ASSERT_EQ(tcp.calls.close, 0);
      ASSERT_TRUE(client.send_all("x"));
      ASSERT_TRUE(tcp.until([&] { return tcp.received == "x"; }));
      pass(tcp, 100min);
      ASSERT_NE(tcp.connection(), nullptr) << "the byte counts";
      EXPECT_EQ(tcp.connection()->state(), TcpConnection::State::open);
      pass(tcp, 40min);
      EXPECT_NE(tcp.connection()->state(), TcpConnection::State::open);
      client.close();
      EXPECT_TRUE(tcp.until_closed());
      EXPECT_EQ(tcp.reason->kind, Kind::idle_timeout);
    }
  }
}

TEST(OwnDeadlines, TheOthersKeepTheirs) {
  TcpHarness tcp({.idle_timeout = 60s});
  TestClient first = tcp.connect();
  const ConnectionRef patient = tcp.ref();
  patient.get()->set_idle_timeout(1h);
  TestClient second = tcp.connect();
  pass(tcp, 65s);
  EXPECT_EQ(patient.get()->state(), TcpConnection::State::open);
  second.close();
  EXPECT_TRUE(tcp.until_closed());
  EXPECT_EQ(tcp.reason->kind, Kind::idle_timeout);
  EXPECT_NE(patient.get(), nullptr);
}

TEST(OwnDeadlines, MessageTimeoutCountsFromTheCallForAMessageThatHasBegun) {
  for (const Trigger trigger : kTriggers) {
    SCOPED_TRACE(name(trigger));
    TcpHarness tcp({.trigger = trigger});
    tcp.on.data = [](TcpConnection&, Buffer&) {};  // never complete
    TestClient client = tcp.connect();
    ASSERT_TRUE(client.send_all("half"));
    ASSERT_TRUE(tcp.until([&] { return tcp.calls.data == 1; }));
    pass(tcp, 1h);
    tcp.connection()->set_message_timeout(10s);
    pass(tcp, 9s);
    ASSERT_EQ(tcp.connection()->state(), TcpConnection::State::open);
    pass(tcp, 2s);
    client.close();
    EXPECT_TRUE(tcp.until_closed());
    EXPECT_EQ(tcp.reason->kind, Kind::message_timeout);
  }
}

TEST(OwnDeadlines, MessageTimeoutIsLiftedAndComesBackForLaterMessages) {
  TcpHarness tcp({.message_timeout = 10s});
  std::size_t wanted = 100;
  tcp.on.data = [&](TcpConnection&, Buffer& in) {
    if (in.size() >= wanted) in.clear();
  };
  TestClient client = tcp.connect();
  tcp.connection()->set_message_timeout(0s);
  ASSERT_TRUE(client.send_all("half"));
  ASSERT_TRUE(tcp.until([&] { return tcp.calls.data == 1; }));
  pass(tcp, 1h);
  ASSERT_EQ(tcp.connection()->state(), TcpConnection::State::open);
  wanted = 8;
  ASSERT_TRUE(client.send_all("full"));
  ASSERT_TRUE(tcp.until([&] { return tcp.connection()->pending_input() == 0; }));
  tcp.connection()->set_message_timeout(10s);
  pass(tcp, 1h);
  ASSERT_EQ(tcp.connection()->state(), TcpConnection::State::open) << "no message has begun";
  ASSERT_TRUE(client.send_all("half"));
  ASSERT_TRUE(tcp.until([&] { return tcp.connection()->pending_input() == 4; }));
  pass(tcp, 11s);
  client.close();
  EXPECT_TRUE(tcp.until_closed());
  EXPECT_EQ(tcp.reason->kind, Kind::message_timeout);
}

}  // namespace
}  // namespace weir
