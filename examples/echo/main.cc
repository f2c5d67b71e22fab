// weir-echo: sends back what its clients send.
//
// The server itself is three lines: a TcpServer, on_data, serve. The rest of this file is options
// and statistics. examples/hello is a server without them.

#include <CLI/CLI.hpp>
#include <chrono>
#include <cstdio>
#include <map>
#include <string>
#include <vector>

#include "common/command_line.h"
#include "program/command_line.h"
#include "weir/net/reactor/event_loop.h"
#include "weir/net/service/serve.h"
#include "weir/net/tcp/tcp_server.h"

namespace {

struct Settings {
  std::vector<std::string> listen;
  std::string hand_over;  // empty: neither takes over nor hands over
  weir::TcpServer::Options server;
  weir::Duration stats_every{0};
};

void describe(CLI::App& app, Settings& settings) {
  static const std::map<std::string, weir::AcceptMode> kModes = {
      {"single", weir::AcceptMode::single},
      {"reuse_port", weir::AcceptMode::reuse_port},
      {"exclusive", weir::AcceptMode::exclusive}};
  weir::TcpServer::Options& server = settings.server;

  sample::listen_option(app, settings.listen);
  weir::program::text_option(app, "--hand-over", settings.hand_over, "PATH",
                             "take over from the weir-echo that serves this path, then serve it");
  sample::threads_option(app, server.threads);
  sample::choice_option(app, "--accept", kModes, server.accept,
                        "single (the default), reuse_port or exclusive")
      ->type_name("MODE");
  app.add_flag(
      "--edge-triggered", [&server](std::int64_t) { server.trigger = weir::Trigger::edge; },
      "epoll reports changes only (EPOLLET)");
  server.idle_timeout = std::chrono::seconds(300);
  sample::seconds_option(app, "--idle-timeout", server.idle_timeout,
                         "of silence after which a client is disconnected; 0: never");
  sample::connections_option(app, server.max_connections);
  weir::program::number_option(app, "--backlog", server.backlog, 0, 1 << 30, "N",
                               "connections that may be pending, not accepted yet");
  weir::program::number_option(app, "--max-output", server.max_output, 1, std::uint64_t{1} << 40,
                               "BYTES", "bytes that may be queued for a slow client");
  sample::stats_option(app, settings.stats_every);
}

// Prints on stderr, as one line, what happened since the previous call.
class StatsLine {
 public:
  StatsLine(const weir::EventLoop& loop, const weir::TcpServer& server)
      : loop_(loop), server_(server) {}

  void print() {
    const Sample now = sample();
    const double s = std::chrono::duration<double>(now.at - last_.at).count();
    constexpr double kMiB = 1024 * 1024;
    const auto rate = [s](std::uint64_t after, std::uint64_t before) {
      return static_cast<double>(after - before) / s;
    };
    std::fprintf(stderr,
                 "%llu connections, %.0f accepted/s, %llu rejected, in %.1f MiB/s, "
                 "out %.1f MiB/s, %.0f wake-ups/s, %.0f events/s, %.1f %% busy\n",
                 static_cast<unsigned long long>(now.server.connections),
                 rate(now.server.accepted, last_.server.accepted),
                 static_cast<unsigned long long>(now.server.refused + now.server.shed),
                 rate(now.server.bytes_in, last_.server.bytes_in) / kMiB,
                 rate(now.server.bytes_out, last_.server.bytes_out) / kMiB,
                 rate(now.turns, last_.turns), rate(now.events, last_.events),
                 100 * std::chrono::duration<double>(now.busy - last_.busy).count() / s);
    last_ = now;
  }

 private:
  struct Sample {
    weir::TimePoint at;
    weir::TcpServer::Stats server;
    std::uint64_t turns = 0;  // each begins with a wake-up
    std::uint64_t events = 0;
    weir::Duration busy{};
  };

  Sample sample() const {
    Sample sum{.at = weir::Clock::now(), .server = server_.stats()};
    const auto add = [&sum](const weir::EventLoop& loop) {
      const weir::EventLoop::Stats stats = loop.stats();
      sum.turns += stats.turns;
      sum.events += stats.events;
      sum.busy += stats.busy;
    };
    add(loop_);
    for (std::size_t i = 0; i < server_.loop_count(); ++i) {
      if (&server_.loop(i) != &loop_) add(server_.loop(i));  // the same one without threads
    }
    return sum;
  }

  const weir::EventLoop& loop_;
  const weir::TcpServer& server_;
  Sample last_ = sample();
};

int serve(const Settings& settings) {
  weir::EventLoop loop;
  weir::TcpServer server(loop, settings.server);
  server.on_data([](weir::TcpConnection& conn, weir::Buffer& in) { conn.send(in); });

  StatsLine stats(loop, server);
  if (settings.stats_every > weir::Duration::zero()) {
    loop.run_every(settings.stats_every, [&] { stats.print(); });
  }
  return weir::serve(loop, server, settings.listen, {.hand_over = settings.hand_over});
}

}  // namespace

int main(int argc, char** argv) {
  Settings settings;
  CLI::App app("Sends back what its clients send.", "weir-echo");
  describe(app, settings);
  return sample::run(app, argc, argv, [&] { return serve(settings); });
}
