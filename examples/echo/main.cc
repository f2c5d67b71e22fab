// weir-echo: sends back what its clients send.
//
// The server itself is three lines: a TcpServer, on_data, listen. All else on this page is options,
// signals and a line of numbers.

#include <sys/resource.h>

#include <CLI/CLI.hpp>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <map>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "weir/base/result.h"
#include "weir/net/reactor/event_loop.h"
#include "weir/net/reactor/signal_set.h"
#include "weir/net/tcp/hand_over.h"
#include "weir/net/tcp/tcp_server.h"

namespace {

// After a hand-over the clients that are there have so long to end by themselves.
constexpr weir::Duration kLastConnections = std::chrono::seconds(20);

weir::Duration seconds(double s) {
  return std::chrono::duration_cast<weir::Duration>(std::chrono::duration<double>(s));
}

struct Settings {
  std::vector<std::string> listen;
  std::string hand_over;  // empty: no successor, no predecessor
  weir::TcpServer::Options server;
  double idle_seconds = 300;
  double stats_seconds = 0;
};

void describe(CLI::App& app, Settings& settings) {
  static const std::map<std::string, weir::AcceptMode> kModes = {
      {"single", weir::AcceptMode::single},
      {"reuse_port", weir::AcceptMode::reuse_port},
      {"exclusive", weir::AcceptMode::exclusive}};
  weir::TcpServer::Options& server = settings.server;

  app.add_option("--listen", settings.listen,
                 "127.0.0.1:7000, [::1]:7000, unix:/path, unix:@name; port 0: any")
      ->delimiter(',')
      ->required()
      ->type_name("ADDR");
  app.add_option("--hand-over", settings.hand_over,
                 "take over from the weir-echo that serves this path, then serve it")
      ->type_name("PATH");
  app.add_option("--threads", server.threads,
                 "loops, one thread each; 0: one loop, no more threads")
      ->check(CLI::Range(0, 1024).description(""))
      ->capture_default_str()
      ->type_name("N");
  app.add_option_function<std::string>(
         "--accept", [&server](const std::string& mode) { server.accept = kModes.at(mode); },
         "single (the default), reuse_port or exclusive")
      ->check(CLI::IsMember(kModes).description(""))
      ->type_name("MODE");
  app.add_flag(
      "--edge-triggered", [&server](std::int64_t) { server.trigger = weir::Trigger::edge; },
      "epoll tells of changes only (EPOLLET)");
  app.add_option("--idle-timeout", settings.idle_seconds,
                 "seconds after which a silent client is let go; 0: never")
      ->check(CLI::Range(0.0, 1e9).description(""))
      ->capture_default_str()
      ->type_name("SECONDS");
  app.add_option("--max-connections", server.max_connections,
                 "clients at a time; 0: as many as RLIMIT_NOFILE allows")
      ->capture_default_str()
      ->type_name("N");
  app.add_option("--max-output", server.max_output, "bytes that may wait for a slow client")
      ->check(CLI::Range(std::uint64_t{1}, std::uint64_t{1} << 40).description(""))
      ->capture_default_str()
      ->type_name("BYTES");
  app.add_option("--stats", settings.stats_seconds, "print a line of numbers every so many seconds")
      ->check(CLI::Range(0.01, 1e9).description(""))
      ->type_name("SECONDS");
}

// A connection is a descriptor, and the usual soft limit is only 1024.
void raise_descriptor_limit() {
  rlimit files{};
  if (getrlimit(RLIMIT_NOFILE, &files) != 0) return;
  files.rlim_cur = files.rlim_max;
  setrlimit(RLIMIT_NOFILE, &files);
}

// What has happened since the call before, as one line on stderr.
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
                 "%llu connections, %.0f accepted/s, %llu turned away, in %.1f MiB/s, "
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
      if (&server_.loop(i) != &loop_) add(server_.loop(i));  // without threads it is the same one
    }
    return sum;
  }

  const weir::EventLoop& loop_;
  const weir::TcpServer& server_;
  Sample last_ = sample();
};

// Where to listen: on what the predecessor has, or if there is none on the addresses.
weir::Result<std::vector<weir::SocketAddress>> listen(
    weir::TcpServer& server, std::optional<weir::Predecessor>& predecessor,
    const std::vector<weir::SocketAddress>& addresses) {
  if (predecessor) {
    auto bound = server.listen(predecessor->take_listeners());
    if (!bound) return bound;
    if (auto done = predecessor->take_over(); !done) return std::unexpected(done.error());
    return bound;
  }
  std::vector<weir::SocketAddress> bound;
  for (const weir::SocketAddress& address : addresses) {
    const auto one = server.listen(address);
    if (!one) return std::unexpected(one.error());
    bound.push_back(*one);
  }
  return bound;
}

int serve(const Settings& settings, const std::vector<weir::SocketAddress>& addresses) {
  auto made = weir::EventLoop::create();
  if (!made) return weir::fail(made.error());
  weir::EventLoop& loop = **made;
  weir::TcpServer server(loop, settings.server);
  server.on_data([](weir::TcpConnection& conn, weir::Buffer& in) { conn.send(in); });

  bool stopping = false;
  const weir::SignalSet stop(loop, {SIGINT, SIGTERM}, [&](int signal) {
    if (stopping) std::_Exit(128 + signal);  // asked twice
    stopping = true;
    server.shutdown(std::chrono::seconds(4), [&] { loop.stop(); });
  });

  std::optional<weir::Predecessor> predecessor;
  if (!settings.hand_over.empty()) {
    auto asked = weir::Predecessor::ask(settings.hand_over);
    if (!asked) return weir::fail(asked.error());
    predecessor = std::move(*asked);
  }
  const auto bound = listen(server, predecessor, addresses);
  if (!bound) return weir::fail(bound.error());

  std::optional<weir::HandOver> hand_over;
  if (!settings.hand_over.empty()) {
    auto point = predecessor ? weir::Result<weir::ListeningSocket>(predecessor->take_point())
                             : weir::HandOver::open_point(settings.hand_over);
    if (!point) return weir::fail(point.error());
    hand_over.emplace(loop, server, std::move(*point), [&] {
      server.shutdown({.deadline = kLastConnections + std::chrono::seconds(4),
                       .grace = kLastConnections,
                       .leave_listeners = true},
                      [&] { loop.stop(); });
    });
  }

  std::string ready;
  for (const weir::SocketAddress& address : *bound) {
    ready += "listening on " + address.to_string() + "\n";
  }
  std::fputs(ready.c_str(), stdout);
  std::fflush(stdout);

  StatsLine stats(loop, server);
  if (settings.stats_seconds > 0) {
    loop.run_every(seconds(settings.stats_seconds), [&] { stats.print(); });
  }
  loop.run();
  return 0;
}

}  // namespace

int main(int argc, char** argv) {
  Settings settings;
  CLI::App app("Sends back what its clients send.", "weir-echo");
  describe(app, settings);
  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& error) {
    if (error.get_exit_code() == 0) return app.exit(error);  // --help
    std::fprintf(stderr, "error: %s; see weir-echo --help\n", error.what());
    return 2;
  }
  std::vector<weir::SocketAddress> addresses;
  for (const std::string& text : settings.listen) {
    const auto address = weir::SocketAddress::parse(text);
    if (!address) {
      weir::fail(address.error());
      return 2;
    }
    addresses.push_back(*address);
  }
  settings.server.idle_timeout = seconds(settings.idle_seconds);

  raise_descriptor_limit();
  try {
    return serve(settings, addresses);
  } catch (const weir::SystemError& refused) {  // by the kernel: no descriptor, no memory
    return weir::fail(refused.error());
  }
}
