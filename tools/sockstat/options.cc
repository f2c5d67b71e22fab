#include "sockstat/options.h"

#include <CLI/CLI.hpp>
#include <chrono>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <string>

namespace weir::sockstat {

namespace {

// A validator of CLI11, whose Range lets pass what is neither too small nor too large.
std::string refuse_nan(const std::string& text) {
  return std::isnan(std::strtod(text.c_str(), nullptr)) ? text + " is not a number" : "";
}

}  // namespace

std::variant<Settings, int> read_command_line(int argc, char** argv) {
  CLI::App app(
      "Shows what the kernel holds for a server: its listeners and their accept queues, and its "
      "connections by TCP state. Without --port and --pid: of everybody.",
      "weir-sockstat");
  Settings settings;
  Selection& selection = settings.selection;
  std::uint16_t port = 0;
  int pid = 0;
  double seconds = 0;
  const auto range = [](auto least, auto most) { return CLI::Range(least, most).description(""); };
  auto* by_port = app.add_option("--port", port, "the server's port")
                      ->check(range(1, 65535))
                      ->type_name("PORT");
  auto* by_pid = app.add_option("--pid", pid, "the server's process")
                     ->check(range(1, 1 << 30))
                     ->type_name("PID")
                     ->excludes(by_port);
  app.add_flag("--both-ends", selection.both_ends,
               "also the sockets of this machine that are connected to the port")
      ->needs(by_port);
  app.add_flag("--connections", selection.connections, "a line for each connection");
  auto* watch = app.add_option("--watch", seconds, "look again and again, and mark what grows")
                    ->check(range(0.01, 86400.0))
                    ->check(CLI::Validator(refuse_nan, ""))
                    ->type_name("SECONDS");
  app.add_option("--looks", settings.looks, "with --watch: end after so many")
      ->check(range(1, 1'000'000'000))
      ->type_name("N")
      ->needs(watch);
  app.add_option("--json", settings.json,
                 "write JSON to this file, too, an object in a line for each look; -: instead of "
                 "the text")
      ->type_name("FILE");
  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& error) {
    if (error.get_exit_code() == 0) return app.exit(error);  // --help
    std::fprintf(stderr, "error: %s; see weir-sockstat --help\n", error.what());
    return 2;
  }
  if (*by_port) selection.port = port;
  if (*by_pid) selection.pid = pid;
  if (*watch) {
    settings.watch = std::chrono::duration_cast<Duration>(std::chrono::duration<double>(seconds));
  }
  return settings;
}

}  // namespace weir::sockstat
