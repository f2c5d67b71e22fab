// Bytes on connections: echo, half-close, Unix sockets, a transport, pause and resume, a slow
// reader, files, relays and broadcasts.
#include <sys/socket.h>

#include <array>
#include <cerrno>
#include <cstddef>
#include <memory>
#include <new>
#include <optional>
#include <string>
#include <vector>

#include "scenario.h"
#include "support/temp_files.h"
#include "support/test_transport.h"
#include "weir/net/route/broadcast.h"
#include "weir/net/route/relay.h"

namespace weir::test::matrix {
namespace {

using namespace std::chrono_literals;

// Larger than the buffers of the sockets together, so that output has to wait.
constexpr std::size_t kMuch = 60'000;

void echo_over(Net& net, std::string_view where) {
  const std::string small = bytes(100);
  const std::string large = bytes(kMuch, small.size());
  net.at_server.data = echo_back;
  net.at_client.expect(small + large);
  net.at_client.open = [&](TcpConnection& c) {
    c.send(small);
    c.send(large);
  };
  net.start(where);
  net.until_answered();
  net.stage.complete(net.at_client.has_all());
  net.serve_another();
  net.end();
}

void echo(Stage& stage) {
  Net net(stage, {.receive_buffer = kSmallBuffer, .send_buffer = kSmallBuffer},
          {.receive_buffer = kSmallBuffer, .send_buffer = kSmallBuffer});
  echo_over(net, "127.0.0.1:0");
}

void unix_path(Stage& stage) {
  const TempFolder folder;
  const std::string path = folder.address("socket");
  {
    const auto left = SocketAddress::parse(path);  // a stale file, to be replaced
    Socket before = stage.need("socket", Socket::stream(left->family()));
    stage.need("bind", before.bind(*left));
  }
  Net net(stage);
  echo_over(net, path);
  stage.check(!exists(folder.file("socket")) || !stage.reports().empty() || stage.hits() > 0,
              "the file of a Unix path is left");
}

void over_a_transport(Stage& stage) {
  const auto transports =
      std::make_shared<TestTransports>(TestTransport::Options{.key = 0x55, .reads_cross = 3});
  Net net(stage,
          {.receive_buffer = kSmallBuffer, .send_buffer = kSmallBuffer, .transport = transports},
          {.transport = transports});
  echo_over(net, "127.0.0.1:0");
}

// The client half-closes; the server answers after that.
void half_close(Stage& stage) {
  Net net(stage, {.allow_half_open = true, .send_buffer = kSmallBuffer},
          {.allow_half_open = true, .receive_buffer = kSmallBuffer, .send_buffer = kSmallBuffer});
  const std::string question = bytes(kMuch / 2);
  const std::string answer = bytes(kMuch, 7);
  net.at_server.expect(question);
  net.at_client.expect(answer);
  net.at_server.half_close = [&](TcpConnection& c) {
    c.send(answer);
    c.close();
  };
  net.at_client.open = [&](TcpConnection& c) {
    c.send(question);
    c.shutdown();
  };
  net.start();
  net.until("the end of both streams", [&] {
    return net.client_ended() || (net.at_client.half_closes > 0 && net.at_client.has_all());
  });
  stage.complete(net.at_client.has_all() && net.at_server.has_all());
  net.serve_another();
  net.end();
}

// The server pauses reading after each part; the client's output waits meanwhile.
void pause_resume(Stage& stage) {
  Net net(stage, {.high_water = 8192, .receive_buffer = kSmallBuffer},
          {.high_water = 8192, .send_buffer = kSmallBuffer});
  const std::string text = bytes(kMuch);
  std::size_t taken = 0;
  net.at_server.data = [&](TcpConnection& c, Buffer& in) {
    const std::string part = in.take();
    stage.check(std::string_view(text).substr(taken).starts_with(part), "wrong bytes");
    taken += part.size();
    c.pause_reading();
    net.loop.run_after(5ms, [ref = c.ref()] {
      if (TcpConnection* paused = ref.get()) paused->resume_reading();
    });
    if (taken == text.size()) c.send("done");
  };
  net.at_client.expect("done");
  net.at_client.open = [&](TcpConnection& c) { c.send(text); };
  net.start();
  net.until_answered();
  stage.complete(net.at_client.has_all());
  net.serve_another();
  net.end();
}

void file(Stage& stage) {
  Net net(stage, {.send_buffer = kSmallBuffer}, {.receive_buffer = kSmallBuffer});
  const std::string contents = bytes(kMuch);
  net.at_client.expect("head" + contents + "tail");
  net.at_server.data = [&](TcpConnection& c, Buffer& in) {
    if (in.size() < 3) return;
    in.clear();
    Fd source = file_with(contents);
    stage.table().give(source.get());
    c.send("head");
    c.send_file(std::move(source), 0, contents.size());
    c.send("tail");
  };
  net.at_client.open = [](TcpConnection& c) { c.send("get"); };
  net.start();
  net.until_answered();
  stage.complete(net.at_client.has_all());
  net.serve_another();
  net.end();
}

// client -> relay -> back end, which echoes.
void relay_by(Stage& stage, RelayOptions::Path path) {
  Net net(stage, {.send_buffer = kSmallBuffer}, {.send_buffer = kSmallBuffer});
  Watch at_back(stage, "the back end");
  TcpServer back(net.loop, net.with_trigger(TcpServer::Options()));
  back.use_handler(at_back.unowned());
  at_back.data = echo_back;
  const SocketAddress address = stage.need("listen", back.listen("127.0.0.1:0"));

  // Each connection of the server gets a client of its own, which relay() takes over.
  struct Leg {
    std::unique_ptr<TcpClient> client;
    std::unique_ptr<Watch> watch;
  };
  std::vector<Leg> legs;
  std::size_t relays = 0;
  net.at_server.open = [&](TcpConnection& front) {
    front.pause_reading();
    Leg& leg = legs.emplace_back(
        std::make_unique<TcpClient>(net.loop, net.with_trigger(TcpClient::Options())),
        std::make_unique<Watch>(stage, "the relay's client"));
    leg.client->use_handler(leg.watch->unowned());
    leg.client->on_connect_error([&stage, ref = front.ref()](const Error& error, int) {
      stage.report("connect", error);
      ref.abort();
    });
    leg.watch->open = [&, ref = front.ref(), watch = leg.watch.get()](TcpConnection& second) {
      TcpConnection* first = ref.get();
      if (first == nullptr) return second.abort();
      try {
        relay(*first, second, {.path = path}, [&](const RelayResult& result) {
          --relays;
          const SpareAllocations of_the_test;
          for (const CloseReason& why : {result.a, result.b}) {
            if (why.error) stage.report("the relay: " + why.to_string(), why.error);
          }
        });
      } catch (const std::bad_alloc&) {
        first->abort();
        throw;
      }
      ++relays;
      stage.closed(&net.at_server, first->id());  // their handlers are not called any more
      stage.closed(watch, second.id());
      ++net.at_server.closes;
      ++watch->closes;
      first->resume_reading();
    };
    if (auto begun = leg.client->connect(address); !begun) {
      stage.report("connect", begun.error());
      front.abort();
    }
  };
  const std::string text = bytes(kMuch);
  net.at_client.expect(text);
  net.at_client.open = [&](TcpConnection& c) { c.send(text); };
  net.start();
  net.until_answered();
  stage.complete(net.at_client.has_all());
  net.end();
  net.until("the end of the relay", [&] { return relays == 0; });
  bool stopped = false;
  back.shutdown(20s, [&stopped] { stopped = true; });
  net.until("the end of the back end", [&] { return stopped; });
  net.report_counters(back);
}

void relay_copy(Stage& stage) { relay_by(stage, RelayOptions::Path::copy); }
void relay_splice(Stage& stage) { relay_by(stage, RelayOptions::Path::splice); }

// Four members; one reads nothing until the end.
void broadcast(Stage& stage) {
  Broadcast room;
  Net net(stage, {.send_buffer = kSmallBuffer});
  net.at_server.open = [&](TcpConnection& c) { room.join(c); };
  const std::string text = bytes(20'000);
  std::array<std::optional<Watch>, 3> at_members;
  std::array<std::optional<TcpClient>, 3> members;
  net.at_client.expect(text + text);
  net.start();
  int failed = 0;
  for (std::size_t i = 0; i < members.size(); ++i) {
    at_members[i].emplace(stage, "a member").expect(text + text);
    members[i].emplace(net.loop, net.with_trigger(TcpClient::Options()));
    members[i]->use_handler(at_members[i]->unowned());
    members[i]->on_connect_error([&](const Error& error, int) {
      ++failed;
      stage.report("connect", error);
    });
    stage.need("connect", members[i]->connect(net.address));
  }
  const auto settled = [&](const auto& done) {
    return [&, done] {
      bool all = net.client_ended() || done(net.at_client);
      int refused = failed;
      for (const auto& member : at_members) {
        if (member->opens == 0 && refused > 0) {
          --refused;
        } else {
          all = all && (member->ended() || done(*member));
        }
      }
      return all;
    };
  };
  net.until("the members", settled([&](const Watch& member) { return member.opens > 0; }));
  // Connections of clients that have gone may be among the server's for a moment.
  for (int i = 0; i < 3; ++i) {
    net.until("the server's side of the members", [&] {
      std::uint64_t open = net.at_client.is_connected() ? 1U : 0U;
      for (const auto& member : at_members) open += member->is_connected() ? 1U : 0U;
      return room.stats().members == open;
    });
    stage.turns(net.loop, 2);
  }
  if (TcpConnection* slow = net.at_client.connection()) slow->pause_reading();
  const SharedBytes message = SharedBytes::copy(text);
  room.send(message);
  room.send(message);
  stage.turns(net.loop, 3);
  if (TcpConnection* slow = net.at_client.connection()) slow->resume_reading();
  net.until("the messages", settled([](const Watch& member) { return member.has_all(); }));
  bool all = net.at_client.has_all();
  for (const auto& member : at_members) all = all && member->has_all();
  stage.complete(all);
  net.serve_another();
  for (auto& member : members) member->close();
  net.end();
  net.until("the end of the members", [&] {
    bool ended = true;
    for (std::size_t i = 0; i < members.size(); ++i) {
      ended = ended && is_over(*members[i], *at_members[i]);
    }
    return ended;
  });
}

// A stale file that cannot be examined; a listener that ended has removed its file.
constexpr std::array kOfUnix{EADDRINUSE, ENOENT};
// A handshake ended without an errno.
constexpr std::array kOfTransport{EINVAL};

constexpr std::array kScenarios = {
    Scenario{"echo", echo},
    Scenario{"unix", unix_path, true, kOfUnix},
    Scenario{"transport", over_a_transport, true, kOfTransport},
    Scenario{"half_close", half_close},
    Scenario{"pause_resume", pause_resume},
    Scenario{"file", file},
    Scenario{"relay_copy", relay_copy},
    Scenario{"relay_splice", relay_splice},
    Scenario{"broadcast", broadcast},
};

}  // namespace

const std::span<const Scenario> stream_scenarios = kScenarios;

}  // namespace weir::test::matrix
