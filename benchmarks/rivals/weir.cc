// bench-weir: weir itself, with the default options of a server: all limits, deadlines and counters
// are on.
#include <CLI/CLI.hpp>
#include <chrono>
#include <cstdint>
#include <map>
#include <string>

#include "rivals/settings.h"
#include "weir/net/route/broadcast.h"
#include "weir/net/service/serve.h"
#include "weir/net/tcp/tcp_server.h"

namespace {

void describe(CLI::App& app, weir::TcpServer::Options& options) {
  static const std::map<std::string, weir::Trigger> kTriggers = {{"level", weir::Trigger::level},
                                                                 {"edge", weir::Trigger::edge}};
  static const std::map<std::string, weir::AcceptMode> kModes = {
      {"single", weir::AcceptMode::single},
      {"reuse_port", weir::AcceptMode::reuse_port},
      {"exclusive", weir::AcceptMode::exclusive}};
  app.add_option_function<std::string>(
         "--trigger", [&](const std::string& trigger) { options.trigger = kTriggers.at(trigger); },
         "level (the default) or edge")
      ->check(CLI::IsMember(kTriggers).description(""))
      ->type_name("TRIGGER");
  app.add_option_function<std::string>(
         "--accept", [&](const std::string& mode) { options.accept = kModes.at(mode); },
         "single (the default), reuse_port or exclusive")
      ->check(CLI::IsMember(kModes).description(""))
      ->type_name("MODE");
  app.add_option("--threads", options.threads, "loops, one thread each; 0: one loop")
      ->check(CLI::Range(0, 1024).description(""))
      ->capture_default_str()
      ->type_name("N");
}

int serve(const rival::Settings& settings, const weir::TcpServer::Options& options) {
  using weir::Buffer;
  using weir::TcpConnection;
  weir::EventLoop loop;
  // A receiver that is too slow is disconnected, as by the other servers.
  weir::Broadcast room(weir::SlowPolicy::close);
  weir::TcpServer server(loop, options);
  const std::size_t size = settings.size;
  switch (settings.work) {
    case rival::Work::echo:
      server.on_data([](TcpConnection& conn, Buffer& in) { conn.send(in); });
      break;
    case rival::Work::each:
      server.on_data([size](TcpConnection& conn, Buffer& in) {
        while (in.size() >= size) {
          conn.send(in.bytes().first(size));
          in.consume(size);
        }
      });
      break;
    case rival::Work::broadcast:
      server.on_open([&](TcpConnection& conn) { room.join(conn); });
      server.on_data([&, size](TcpConnection&, Buffer& in) {
        while (in.size() >= size) {
          room.send(weir::SharedBytes::copy(in.bytes().first(size)));
          in.consume(size);
        }
      });
      break;
  }
  return weir::serve(loop, server, {settings.address}, {.deadline = std::chrono::seconds(1)});
}

}  // namespace

int main(int argc, char** argv) {
  weir::TcpServer::Options options;
  return rival::run(
      argc, argv, "weir", [&](const rival::Settings& settings) { return serve(settings, options); },
      [&](CLI::App& app) { describe(app, options); });
}
