// The lives of servers and clients: failed attempts, limits, deadlines, a graceful stop, and the
// hand-over to a successor.
#include <sys/socket.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "scenario.h"
#include "support/temp_files.h"
#include "weir/net/service/hand_over.h"

namespace weir::test::matrix {
namespace {

using namespace std::chrono_literals;

// A port of the loopback at which nobody listens.
SocketAddress refusing_address() {
  const int fd = ::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  const SocketAddress any = SocketAddress::loopback_ipv4(0);
  sockaddr_storage name{};
  socklen_t length = sizeof(name);
  ::bind(fd, any.data(), any.size());
  ::getsockname(fd, reinterpret_cast<sockaddr*>(&name), &length);
  ::close(fd);
  return SocketAddress::from_sockaddr(reinterpret_cast<const sockaddr*>(&name), length);
}

// The first attempt has one address, which refuses; the second has that and a good one.
void connect_failure(Stage& stage) {
  Net net(stage, {}, {.connect_timeout = 4s});
  net.at_server.data = echo_back;
  net.at_client.expect("hello");
  net.at_client.open = [](TcpConnection& c) { c.send("hello"); };
  net.address = stage.need("listen", net.server.listen("127.0.0.1:0"));
  const SocketAddress refusing = refusing_address();
  bool refused = false;
  net.client.on_connect_error([&](const Error& error, int) {
    if (!refused && error.code() == ECONNREFUSED) {
      refused = true;
      return;
    }
    ++net.connect_errors;
    stage.report("connect", error);
  });
  stage.need("connect", net.client.connect(refusing));
  net.until("the refusal", [&] { return refused || net.connect_errors > 0; });
  stage.check(net.at_client.opens == 0, "a refused connect has opened");
  net.connect_errors = 0;
  stage.need("connect", net.client.connect({refusing, net.address}));
  net.until_answered();
  stage.complete(refused && net.at_client.has_all());
  net.serve_another();
  net.end();
}

// A client that goes on trying, until its server listens.
void reconnect(Stage& stage) {
  Net net(stage, {},
          {.connect_timeout = 4s,
           .reconnect = {.initial = 50ms, .max = 200ms, .jitter = 0, .attempts = 100}});
  const SocketAddress address = refusing_address();
  net.client.on_connect_error([&](const Error& error, int) {
    const bool last = net.client.state() != TcpClient::State::waiting;
    if (last || !(error.code() == ECONNREFUSED)) stage.report("connect", error);
    net.connect_errors += last ? 1 : 0;
  });
  net.at_server.data = echo_back;
  net.at_client.expect("hello");
  net.at_client.open = [](TcpConnection& c) { c.send("hello"); };
  stage.need("connect", net.client.connect(address));
  std::optional<Result<SocketAddress>> bound;
  bool tried = false;
  net.loop.run_after(120ms, [&] {
    tried = true;
    bound.emplace(net.server.listen(address));
  });
  net.until("the server", [&] { return tried; });
  if (!bound) throw GiveUp();  // no memory
  net.address = stage.need("listen", std::move(*bound));
  // Its first connections may end early; it goes on until one is served.
  net.until("the answer", [&] { return net.at_client.has_all() || net.connect_errors > 0; });
  stage.complete(net.at_client.has_all());
  net.serve_another();
  net.end();
}

// Two connections are allowed, one from a peer address; the third client is refused.
void limits(Stage& stage) {
  Net net(stage, {.max_connections = 2, .max_accept_rate = 20});
  net.at_server.data = echo_back;
  net.at_client.expect("hello");
  net.at_client.open = [](TcpConnection& c) { c.send("hello"); };
  net.start();
  net.until_answered();
  std::array<std::optional<Watch>, 2> watches;
  std::array<std::optional<TcpClient>, 2> others;
  int ended = 0;
  for (std::size_t i = 0; i < others.size(); ++i) {
    watches[i].emplace(stage, "another client").close = [&](TcpConnection&) { ++ended; };
    others[i].emplace(net.loop, net.with_trigger(TcpClient::Options()));
    others[i]->use_handler(watches[i]->unowned());
    others[i]->on_connect_error([&](const Error& error, int) {
      ++ended;
      stage.report("connect", error);
    });
    stage.need("connect", others[i]->connect(net.address));
  }
  net.until("the refusal",
            [&] { return ended > 0 || net.client_ended() || net.server.connection_count() < 2; });
  stage.complete(net.at_client.has_all());
  for (auto& other : others) other->close();
  net.until("the others",
            [&] { return is_over(*others[0], *watches[0]) && is_over(*others[1], *watches[1]); });
  net.client.close();
  net.until("the client", [&] { return is_over(net.client, net.at_client); });
  net.until("room", [&] { return net.server.connection_count() == 0; });
  net.serve_another();
  net.end();
}

// A silent client is closed, and one that is served in time is not.
void deadlines(Stage& stage) {
  Net net(stage, {.idle_timeout = 3s, .heartbeat_interval = 1s, .linger_timeout = 1s});
  net.at_server.data = echo_back;
  net.at_client.expect("hello");
  net.at_client.open = [](TcpConnection& c) { c.send("hello"); };
  net.at_server.may_end(CloseReason::Kind::idle_timeout);
  net.start();
  net.until_answered();
  const bool answered = net.at_client.has_all();
  const Duration since = stage.table().elapsed();
  net.until("the idle timeout", [&] { return net.client_ended(); });
  const Duration silent = stage.table().elapsed() - since;
  stage.complete(answered);
  if (stage.hits() == 0) stage.check(silent >= 3s, "closed too early");
  net.serve_another();
  net.end();
}

// One connection is idle, one waits for an answer that is given during the grace, and one peer does
// not read.
void graceful_stop(Stage& stage) {
  Net net(stage, {.send_buffer = kSmallBuffer}, {.receive_buffer = kSmallBuffer});
  net.at_server.data = [&](TcpConnection& c, Buffer& in) {
    if (in.size() < 5) return;
    if (in.take() == "later") {
      c.hold_open();
      net.loop.run_after(500ms, [ref = c.ref()] {
        if (TcpConnection* open = ref.get()) {
          open->send("now");
          open->release();
        }
      });
    } else {
      c.send(bytes(200'000));
    }
  };
  Watch at_idle(stage, "the idle client");
  Watch at_stuck(stage, "the stuck client");
  TcpClient idle(net.loop, net.with_trigger(TcpClient::Options()));
  TcpClient stuck(net.loop, net.with_trigger(TcpClient::Options{.receive_buffer = kSmallBuffer}));
  int failed = 0;
  for (auto [client, watch] : {std::pair(&idle, &at_idle), std::pair(&stuck, &at_stuck)}) {
    client->use_handler(watch->unowned());
    client->on_connect_error([&](const Error& error, int) {
      ++failed;
      stage.report("connect", error);
    });
  }
  at_stuck.may_end(CloseReason::Kind::reset);
  at_stuck.open = [](TcpConnection& c) {
    c.pause_reading();
    c.send("large");
  };
  net.at_client.expect("now");
  net.at_client.open = [](TcpConnection& c) { c.send("later"); };
  net.start();
  stage.need("connect", idle.connect(net.address));
  stage.need("connect", stuck.connect(net.address));
  net.until("the connections", [&] {
    return net.at_client.opens + net.connect_errors > 0 &&
           at_idle.opens + at_stuck.opens + failed >= 2;
  });
  stage.turns(net.loop, 5);
  const Duration since = stage.table().elapsed();
  bool stopped = false;
  net.server.shutdown({.deadline = 3s, .grace = 1s}, [&stopped] { stopped = true; });
  net.until("the stop", [&] { return stopped; });
  // A step that fails for want of memory is repeated after the deadline.
  stage.check(stage.loop_threw() || stage.table().elapsed() - since <= 3100ms,
              "the stop took longer than its deadline");
  stage.check(net.server.connection_count() == 0, "a stopped server has connections");
  net.until("the answer", [&] { return net.client_ended(); });
  stage.complete(net.at_client.has_all());
  idle.close();
  stuck.close();
  if (TcpConnection* open = at_stuck.connection()) open->resume_reading();
  net.until("the clients", [&] { return is_over(idle, at_idle) && is_over(stuck, at_stuck); });
  net.end();
}

// The old server and its successor share this thread: while the successor waits, the old one turns.
void hand_over(Stage& stage) {
  const TempFolder folder;
  const std::string path = folder.file("point");
  Net net(stage);
  net.at_server.data = echo_back;
  net.at_client.expect("hello");
  net.at_client.open = [](TcpConnection& c) { c.send("hello"); };
  net.start();
  bool let_go = false;
  bool stopped = false;
  std::optional<HandOver> offer;
  offer.emplace(net.loop, net.server, stage.need("the point", HandOver::open_point(path)), [&] {
    let_go = true;
    net.server.shutdown({.deadline = 5s, .grace = 100ms, .leave_listeners = true},
                        [&] { stopped = true; });
  });
  net.until_answered();

  Watch at_successor(stage, "the successor");
  at_successor.data = echo_back;
  std::optional<TcpServer> successor(std::in_place, net.loop,
                                     net.with_trigger(TcpServer::Options()));
  successor->use_handler(at_successor.unowned());
  stage.table().while_blocked([&] {
    net.loop.post([] {});
    static_cast<void>(net.loop.turn(0s));
  });
  bool taken = false;
  auto asked = Predecessor::ask(path, 2s);
  if (!asked) {
    stage.report("ask", asked.error());
  } else if (!*asked) {
    stage.report("no predecessor", Errno());
  } else {
    auto listening = successor->listen((*asked)->take_listeners());
    if (!listening) stage.report("listen", listening.error());
    ListeningSocket point = (*asked)->take_point();
    if (listening) {
      const auto over = (*asked)->take_over(2s);
      if (!over) stage.report("take over", over.error());
      taken = over.has_value();
    }
  }
  stage.table().while_blocked({});
  stage.complete(net.at_client.has_all() && taken);
  if (!taken) successor.reset();  // it has to exit; the old server continues
  stage.turns(net.loop, 5);
  // If only the confirmation was lost, nobody serves: the next process listens anew.
  if (taken || !let_go) net.serve_another();
  if (let_go) net.until("the old server", [&] { return stopped; });
  offer.reset();
  bool ended = !successor;
  if (successor) successor->shutdown(5s, [&ended] { ended = true; });
  net.end();
  net.until("the successor", [&] { return ended; });
}

// A hand-over ends at the first error other than EINTR, and the successor may ask again. The errors
// are what the successor learns of an error of the old server; a stale file that cannot be
// examined; a point that has no room.
constexpr std::array kOfHandOver{EPERM, EPROTO, EADDRINUSE, EINPROGRESS, EAGAIN};

constexpr std::array kScenarios = {
    Scenario{"connect_failure", connect_failure},
    Scenario{"reconnect", reconnect},
    Scenario{"limits", limits},
    Scenario{"deadlines", deadlines},
    Scenario{"graceful_stop", graceful_stop},
    Scenario{"hand_over", hand_over, true, kOfHandOver, false},
};

}  // namespace

const std::span<const Scenario> server_scenarios = kScenarios;

}  // namespace weir::test::matrix
