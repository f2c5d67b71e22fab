// The scenarios: short programs that use one part of weir each, in virtual time.
#pragma once

#include <functional>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <utility>

#include "stage.h"
#include "weir/net/reactor/event_loop.h"
#include "weir/net/tcp/tcp_client.h"
#include "weir/net/tcp/tcp_server.h"

namespace weir::test::matrix {

// SO_SNDBUF and SO_RCVBUF, so that output has to wait.
inline constexpr int kSmallBuffer = 4096;

struct Scenario {
  const char* name;
  void (*run)(Stage&);
  // Has connections, so that it runs level-triggered and edge-triggered.
  bool has_connections = true;
  // Errors that it reports in place of the fault's own.
  std::span<const int> consequences{};
  // It tries again after transient errors.
  bool retries = true;
};

std::span<const Scenario> scenarios();

// By the file that has them.
extern const std::span<const Scenario> stream_scenarios;
extern const std::span<const Scenario> server_scenarios;
extern const std::span<const Scenario> loop_scenarios;

// A server and a client of it on one loop.
struct Net {
  explicit Net(Stage& on, TcpServer::Options server_options = {},
               TcpClient::Options client_options = {})
      : stage(on),
        transport(server_options.transport),
        server(loop, with_trigger(std::move(server_options))),
        client(loop, with_trigger(std::move(client_options))) {
    server.use_handler(at_server.unowned());
    client.use_handler(at_client.unowned());
    client.on_connect_error([this](const Error& error, int) {
      ++connect_errors;
      stage.report("connect", error);
    });
  }

  template <typename Options>
  Options with_trigger(Options options) const {
    options.trigger = stage.trigger();
    return options;
  }
  void start(std::string_view where = "127.0.0.1:0") {
    address = stage.need("listen", server.listen(where));
    connect();
  }
  void connect() { stage.need("connect", client.connect(address)); }
  void until(std::string_view what, const std::function<bool()>& done) {
    stage.until(loop, what, done);
  }
  // The attempt has failed, or its connection has ended.
  bool client_ended() const {
    return client.state() == TcpClient::State::idle && (connect_errors > 0 || at_client.ended());
  }
  // Runs until the client has received all that it expects, or is told that it will not.
  void until_answered() {
    until("the answer", [this] { return at_client.has_all() || client_ended(); });
  }
  // After the fault: the next client is served.
  void serve_another();
  // An orderly end of both.
  void end();
  void report_counters(const TcpServer& of);

  Stage& stage;
  const std::shared_ptr<TransportFactory> transport;
  EventLoop loop;
  Watch at_server{stage, "server"};
  Watch at_client{stage, "client"};
  TcpServer server;
  TcpClient client;
  SocketAddress address;
  int connect_errors = 0;
};

// The client has no connection, and its handler was told so.
inline bool is_over(const TcpClient& client, const Watch& watch) {
  return client.state() == TcpClient::State::idle && !watch.is_connected();
}

inline void echo_back(TcpConnection& c, Buffer& in) { c.send(in); }

}  // namespace weir::test::matrix
