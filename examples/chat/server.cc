// weir-chat-server: a chat room with a protocol of lines, so nc is enough as a client.
//
// chat.cc is the protocol: the effect of each line. room.cc holds the members and sends their
// lines; talk_rate.cc limits how fast a client is read. All members see the lines in the same
// order, and a line is encoded once for all. Text from a client can neither forge a notice nor
// control a terminal. A client that reads slowly, sends too fast, sends a line without end, or
// never sends a nickname costs a limited amount of memory and time, and affects no other client.

#include <CLI/CLI.hpp>
#include <chrono>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "chat/chat.h"
#include "common/command_line.h"
#include "program/command_line.h"
#include "weir/net/reactor/event_loop.h"
#include "weir/net/service/serve.h"
#include "weir/net/tcp/tcp_server.h"

namespace {

struct Settings {
  std::vector<std::string> listen;
  chat::Chat::Options chat;
  weir::TcpServer::Options server;
};

void describe(CLI::App& app, Settings& settings) {
  static const std::map<std::string, weir::SlowPolicy> kPolicies = {
      {"skip", weir::SlowPolicy::skip}, {"close", weir::SlowPolicy::close}};
  weir::TcpServer::Options& server = settings.server;

  sample::listen_option(app, settings.listen);
  sample::threads_option(app, server.threads);
  sample::choice_option(
      app, "--slow", kPolicies, settings.chat.slow,
      "for a client that does not read: skip drops its lines (the default), close ends it")
      ->type_name("POLICY");
  weir::program::number_option(
      app, "--max-output", server.max_output, std::uint64_t{128} << 10, std::uint64_t{1} << 32,
      "BYTES", "bytes that may be queued for one client; from half of it the client is slow");
  weir::program::number_option(app, "--history", settings.chat.history, 0, 10'000, "N",
                               "last lines that a new member gets, at most 64 KiB");
  weir::program::number_option(app, "--rate", settings.chat.rate, 0, 1'000'000, "N",
                               "lines a second of one address in the long run; 0: no limit");
  sample::seconds_option(
      app, "--idle-timeout", server.idle_timeout,
      "of silence in both directions after which a client is disconnected; 0: never");
  sample::seconds_option(app, "--nickname-timeout", settings.chat.nickname_timeout,
                         "in which a client must send a nickname; 0: no limit");
}

}  // namespace

int main(int argc, char** argv) {
  Settings settings;
  settings.server.idle_timeout = std::chrono::hours(1);
  settings.server.max_output = 512 * 1024;
  CLI::App app("A chat room.", "weir-chat-server");
  describe(app, settings);
  return sample::run(app, argc, argv, [&] {
    settings.server.high_water = settings.server.max_output / 2;
    settings.server.overflow = settings.chat.slow == weir::SlowPolicy::close ? weir::Overflow::close
                                                                             : weir::Overflow::drop;
    const auto handler = std::make_shared<chat::Chat>(settings.chat);
    weir::EventLoop loop;
    weir::TcpServer server(loop, settings.server);
    server.use_handler(handler);
    return weir::serve(loop, server, settings.listen, {.on_stop = [&] { handler->say_goodbye(); }});
  });
}
