#include "sockstat/options.h"

#include "program/command_line.h"

namespace weir::sockstat {

std::variant<Settings, int> read_command_line(int argc, char** argv) {
  CLI::App app(
      "Shows the sockets of a server: its listeners with their accept queues, and its connections "
      "by TCP state. Without --port and --pid: those of all programs.",
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
               "also show the sockets of this machine that are connected to the port")
      ->needs(by_port);
  app.add_flag("--connections", selection.connections, "print a line for each connection");
  auto* watch = program::seconds_option(app, "--watch", watch_every, 0.01, 86400,
                                        "repeat at this interval, and mark numbers that grow");
  program::number_option(app, "--looks", settings.looks, 1, 1'000'000'000, "N",
                         "with --watch: end after this number of looks")
      ->needs(watch);
  program::text_option(app, "--json", settings.json, "FILE",
                       "also write JSON to this file, one object on one line for each look; -: to "
                       "standard output, instead of the text");
  for (auto* option : {by_port, by_pid, watch}) option->default_str("");
  if (const auto status = program::read_command_line(app, argc, argv)) return *status;
  if (*by_port) selection.port = port;
  if (*by_pid) selection.pid = pid;
  if (*watch) settings.watch = watch_every;
  return settings;
}

}  // namespace weir::sockstat
