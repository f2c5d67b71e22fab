#include "sockstat/options.h"

#include "program/command_line.h"

namespace weir::sockstat {

std::variant<Settings, int> read_command_line(int argc, char** argv) {
  CLI::App app(
      "Shows what the kernel holds for a server: its listeners and their accept queues, and its "
      "connections by TCP state. Without --port and --pid: of everybody.",
      "weir-sockstat");
  Settings settings;
  Selection& selection = settings.selection;
  std::uint16_t port = 0;
  int pid = 0;
  Duration watch_every{0};
  auto* by_port =
      program::number_option(app, "--port", port, 1, 65535, "PORT", "the server's port");
  auto* by_pid =
      program::number_option(app, "--pid", pid, 1, 1 << 30, "PID", "the server's process")
          ->excludes(by_port);
  app.add_flag("--both-ends", selection.both_ends,
               "also the sockets of this machine that are connected to the port")
      ->needs(by_port);
  app.add_flag("--connections", selection.connections, "a line for each connection");
  auto* watch = program::seconds_option(app, "--watch", watch_every, 0.01, 86400,
                                        "look again and again, and mark what grows");
  program::number_option(app, "--looks", settings.looks, 1, 1'000'000'000, "N",
                         "with --watch: end after this many looks")
      ->needs(watch);
  program::text_option(app, "--json", settings.json, "FILE",
                       "write JSON to this file, too, an object in a line for each look; -: "
                       "instead of the text");
  for (auto* option : {by_port, by_pid, watch}) option->default_str("");
  if (const auto status = program::read_command_line(app, argc, argv)) return *status;
  if (*by_port) selection.port = port;
  if (*by_pid) selection.pid = pid;
  if (*watch) settings.watch = watch_every;
  return settings;
}

}  // namespace weir::sockstat
