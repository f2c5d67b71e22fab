// weir-relay: forwards what its clients send to another address, and the answers back. Each side is
// a TCP or a Unix socket.
//
// A client is not read before its connection to the target exists. If that connection fails, the
// client is disconnected and the reason is logged. A half-close is forwarded: each direction ends
// by itself. A slow reader on one side slows down the other side, so memory is limited. At shutdown
// the bytes that were received are still delivered.

#include <CLI/CLI.hpp>
#include <atomic>
#include <chrono>
#include <cstdio>
#include <map>
#include <memory>
#include <string>
#include <unordered_map>
#include <vector>

#include "common/command_line.h"
#include "weir/base/log.h"
#include "weir/base/log_limit.h"
#include "weir/net/reactor/event_loop.h"
#include "weir/net/route/relay.h"
#include "weir/net/service/serve.h"
#include "weir/net/stream/connection_ref.h"
#include "weir/net/tcp/tcp_client.h"
#include "weir/net/tcp/tcp_server.h"

namespace {

struct Settings {
  std::vector<std::string> listen;
  std::string connect;
  weir::TcpServer::Options server{.max_connections = 1000};
  weir::TcpClient::Options target;
  weir::RelayOptions relay;
  weir::Duration stats_every{0};
};

// The clients of one loop, each with a connection to the target on the same loop.
//
// A TcpClient must live as long as its connection, which may still have bytes to send after the
// client has disconnected. So it is kept here under its client until relay() reports that both
// sides have ended, or, if relay() was never called, until the client ends.
class Relay final : public weir::ConnectionHandler {
 public:
  Relay(const Settings& settings, std::atomic<std::uint64_t>& failures)
      : settings_(settings), failures_(failures) {}

  void on_open(weir::TcpConnection& client) override {
    client.pause_reading();
    const weir::ConnectionRef ref = client.ref();
    auto& target = targets_[ref];
    target = std::make_unique<weir::TcpClient>(client.loop(), settings_.target);
    target->on_open([this, ref](weir::TcpConnection& other) { connected(ref, other); });
    target->on_connect_error([this, ref](const weir::Error& error, int) { failed(ref, error); });
    if (auto begun = target->connect(settings_.connect); !begun) failed(ref, begun.error());
  }

  // Called only for a client that is not relayed yet.
  void on_close(weir::TcpConnection& client, weir::CloseReason) override {
    targets_.erase(client.ref());
  }

 private:
  void connected(const weir::ConnectionRef& ref, weir::TcpConnection& target) {
    weir::TcpConnection* const client = ref.get();
    if (client == nullptr) return;  // it has just ended; on_close follows
    weir::relay(*client, target, settings_.relay,
                [this, ref](const weir::RelayResult&) { targets_.erase(ref); });
    client->resume_reading();
  }

  void failed(const weir::ConnectionRef& ref, const weir::Error& error) {
    failures_.fetch_add(1, std::memory_order_relaxed);
    static weir::LogLimit limit(1);  // line a second
    weir::write_log(weir::LogLevel::warn, limit, "a client is disconnected: " + error.message());
    if (weir::TcpConnection* const client = ref.get()) client->close();
  }

  const Settings& settings_;
  std::atomic<std::uint64_t>& failures_;
  std::unordered_map<weir::ConnectionRef, std::unique_ptr<weir::TcpClient>> targets_;
};

void print_stats(const weir::TcpServer::Stats& stats, std::uint64_t failures) {
  constexpr double kMiB = 1024 * 1024;
  std::fprintf(stderr,
               "%llu connections, %llu accepted, %llu rejected, %llu not connected to the target, "
               "%.1f MiB to the target, %.1f MiB back\n",
               static_cast<unsigned long long>(stats.connections),
               static_cast<unsigned long long>(stats.accepted),
               static_cast<unsigned long long>(stats.refused + stats.refused_per_peer + stats.shed),
               static_cast<unsigned long long>(failures),
               static_cast<double>(stats.bytes_in) / kMiB,
               static_cast<double>(stats.bytes_out) / kMiB);
}

int serve(const Settings& settings) {
  std::atomic<std::uint64_t> failures{0};
  weir::EventLoop loop;
  weir::TcpServer server(loop, settings.server);
  server.handlers_per_loop(
      [&](weir::EventLoop&) { return std::make_shared<Relay>(settings, failures); });
  if (settings.stats_every > weir::Duration::zero()) {
    loop.run_every(settings.stats_every, [&] { print_stats(server.stats(), failures); });
  }
  return weir::serve(loop, server, settings.listen);
}

void describe(CLI::App& app, Settings& settings) {
  using Path = weir::RelayOptions::Path;
  static const std::map<std::string, Path> kPaths = {
      {"automatic", Path::automatic}, {"copy", Path::copy}, {"splice", Path::splice}};

  sample::listen_option(app, settings.listen);
  sample::address_option(app, "--connect", settings.connect,
                         "the target that connections are forwarded to");
  sample::threads_option(app, settings.server.threads);
  sample::choice_option(
      app, "--path", kPaths, settings.relay.path,
      "how bytes are moved: automatic (the default), copy or splice (in the kernel)")
      ->type_name("PATH");
  sample::connections_option(app, settings.server.max_connections);
  sample::per_client_option(app, settings.server.max_connections_per_peer);
  sample::seconds_option(app, "--connect-timeout", settings.target.connect_timeout,
                         "to connect to the target; 0: as long as the kernel tries");
  settings.server.idle_timeout = std::chrono::minutes(10);
  sample::seconds_option(app, "--idle-timeout", settings.server.idle_timeout,
                         "of silence in both directions after which a pair is closed; 0: never");
  sample::stats_option(app, settings.stats_every);
}

}  // namespace

int main(int argc, char** argv) {
  Settings settings;
  CLI::App app("Forwards connections to another address.", "weir-relay");
  describe(app, settings);
  return sample::run(app, argc, argv, [&] {
    settings.target.idle_timeout = settings.server.idle_timeout;
    return serve(settings);
  });
}
