#include "load/options.h"

#include <unistd.h>

#include <algorithm>
#include <map>
#include <string>
#include <vector>

#include "load/broadcast_client.h"
#include "load/udp_client.h"
#include "program/command_line.h"
#include "weir/base/result.h"

namespace weir::load {

namespace {

using program::number_option;
using program::seconds_option;
using program::text_option;

constexpr std::size_t kMostInFlight = std::size_t{1} << 20;
constexpr std::uint64_t kMostMessages = std::uint64_t{1} << 62;

struct ModeInfo {
  Mode mode;
  const char* name;
  const char* what;
  std::size_t connections;
  std::size_t size;
  std::size_t depth;
};

constexpr ModeInfo kModes[] = {
    {Mode::echo, "echo", "sends messages to a server that sends back what it receives", 100, 64, 1},
    {Mode::bulk, "bulk", "sends large messages to a server that sends back what it receives", 10,
     65536, 4},
    {Mode::churn, "churn",
     "connects to a server that sends back what it receives, exchanges one message, closes, and "
     "repeats that",
     100, 64, 1},
    {Mode::idle, "idle",
     "holds connections to a server that sends back what it receives: one message on each at the "
     "start, then silence",
     1000, 64, 1},
    {Mode::broadcast, "broadcast",
     "one sender and many receivers, for a server that sends each line to all its clients", 100,
     1024, 1},
    {Mode::chat, "chat",
     "one sender and many receivers in a room of weir-chat-server, with its nicknames and lines",
     100, 128, 1},
    {Mode::udp, "udp", "sends datagrams to a server that sends back what it receives", 10, 64, 16},
};

// Texts of the command line that are checked later.
struct Words {
  std::string target;
  std::string source;
  std::string closes = "client";
};

void describe_load(CLI::App& app, Words& words, Settings& s) {
  const bool idle = s.mode == Mode::idle;
  number_option(app, "--connections", s.connections, 1, 1'000'000, "N",
                s.mode == Mode::churn ? "connections at a time"
                : s.one_to_many()     ? "receivers"
                : s.mode == Mode::udp ? "sockets"
                                      : "connections");
  const std::size_t shortest = s.one_to_many() ? kShortestBroadcast : 1;
  const std::size_t longest = s.mode == Mode::chat ? kLongestChatLine : 64 * 1024 * 1024;
  if (s.mode == Mode::udp) {
    number_option(app, "--size", s.size, kShortestDatagram, kLongestDatagram, "BYTES",
                  "bytes per datagram");
    seconds_option(app, "--timeout", s.timeout, 0.001, 1e6,
                   "a datagram that does not come back within this time is lost");
    app.add_flag("--segments", s.segments,
                 "send and receive several datagrams as one large packet (UDP_SEGMENT, UDP_GRO)");
  } else {
    number_option(app, "--size", s.size, shortest, longest, "BYTES", "bytes per message");
  }
  seconds_option(app, "--duration", s.duration, 0.01, 1e6,
                 idle ? "time for which the connections are held" : "time of the measurement");
  if (idle) return;
  number_option(app, "--messages", s.messages, 1, kMostMessages, "N",
                "measure this number of messages instead of a time; it is an error, and the end of "
                "the run, if nothing comes back for 10 s")
      ->default_str("")
      ->excludes("--duration");
  seconds_option(app, "--warmup", s.warmup, 0, 1e6, "time of load before the measurement");
  CLI::Option* rate = number_option(
      app, "--rate", s.rate, 0.001, 1e9, "N",
      "open loop: all connections together send N messages per second by schedule, and latency "
      "counts from the scheduled time");
  rate->default_str("");
  if (s.mode == Mode::churn) {
    app.add_option("--closes", words.closes,
                   "which side ends a connection: client (closes after the answer), half (the "
                   "client half-closes after its message), server (closes after the answer), reset "
                   "(the client resets after the answer)")
        ->check(CLI::IsMember({"client", "half", "server", "reset"}).description(""))
        ->capture_default_str()
        ->type_name("WHO");
    return;
  }
  number_option(app, "--depth", s.depth, 1, kMostInFlight, "N",
                s.one_to_many() ? "closed loop: messages that some receivers do not have yet"
                                : "closed loop: messages in flight on each connection")
      ->excludes(rate);
}

void describe_rest(CLI::App& app, Words& words, Settings& s) {
  number_option(app, "--threads", s.threads, 1, 256, "N", "threads of weir-load itself");
  app.add_flag("--verify", s.verify, "check every byte that comes back");
  text_option(app, "--source", words.source, "A.B.C.D[/BITS]",
              "connect from this address, or from the addresses of this network in turn");
  number_option(app, "--pid", s.pid, 1, 1 << 30, "PID",
                "report CPU time and memory of this process, the server on this machine")
      ->default_str("");
  app.add_flag("--histogram", s.histogram, "print a histogram of the latencies");
  text_option(app, "--json", s.json_path, "FILE", "also write the report to this file");
  text_option(app, "--hdr", s.hdr_path, "FILE",
              "also write the latencies (ms) to this file, in the format of HdrHistogram");
}

int usage_error(const Error& error) {
  fail(error);
  return 2;
}

std::variant<Settings, int> check(const Words& words, Settings settings) {
  const auto target = SocketAddress::parse(words.target);
  if (!target) return usage_error(target.error());
  settings.target = *target;
  if (!words.source.empty()) {
    const auto source = SourceNetwork::parse(words.source);
    if (!source) return usage_error(source.error());
    if (settings.target.family() != SocketAddress::Family::ipv4) {
      return usage_error(Error("--source is for servers with an IPv4 address"));
    }
    settings.source = *source;
  }
  settings.closes = std::map<std::string, Closing>{
      {"client", Closing::client},
      {"half", Closing::half},
      {"server", Closing::server},
      {"reset",
       Closing::reset}}.at(words.closes);
  settings.chat_prefix = "load" + std::to_string(getpid()) + ": ";
  settings.threads = std::min(settings.threads, settings.connections);
  return settings;
}

}  // namespace

std::variant<Settings, int> read_command_line(int argc, char** argv) {
  CLI::App app("Puts load on a server and measures the answers.", "weir-load");
  app.require_subcommand(1);
  Words words;
  std::vector<Settings> settings(std::size(kModes));  // each mode has its own defaults
  for (std::size_t i = 0; i < std::size(kModes); ++i) {
    const ModeInfo& info = kModes[i];
    Settings& s = settings[i];
    s.mode = info.mode;
    s.mode_name = info.name;
    s.connections = info.connections;
    s.size = info.size;
    s.depth = info.depth;
    CLI::App& mode = *app.add_subcommand(info.name, info.what);
    mode.add_option("address", words.target,
                    "the server: 127.0.0.1:7000, [::1]:7000, unix:/path, unix:@name")
        ->required()
        ->type_name("ADDR");
    describe_load(mode, words, s);
    describe_rest(mode, words, s);
  }
  app.footer("For the options of a mode: weir-load echo --help");  // only of the main help
  if (const auto status = program::read_command_line(app, argc, argv)) return *status;
  for (std::size_t i = 0; i < std::size(kModes); ++i) {
    if (app.got_subcommand(kModes[i].name)) return check(words, settings[i]);
  }
  return 2;
}

}  // namespace weir::load
