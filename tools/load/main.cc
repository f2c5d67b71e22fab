// weir-load: drives a server with load and measures what comes back.

#include <CLI/CLI.hpp>
#include <algorithm>
#include <chrono>
#include <cstdio>
#include <string>

#include "load/echo_run.h"
#include "load/settings.h"
#include "weir/base/fd.h"
#include "weir/base/result.h"

namespace {

constexpr std::size_t kMostInFlight = std::size_t{1} << 20;

// What the command line said before it was checked.
struct Words {
  std::string target;
  double seconds = 10;
};

void describe_echo(CLI::App& echo, Words& words, weir::load::EchoSettings& settings) {
  echo.add_option("address", words.target,
                  "the server: 127.0.0.1:7000, [::1]:7000, unix:/path, unix:@name")
      ->required()
      ->type_name("ADDR");
  echo.add_option("--connections", settings.connections, "clients")
      ->check(CLI::Range(1, 1'000'000).description(""))
      ->capture_default_str()
      ->type_name("N");
  echo.add_option("--size", settings.size, "bytes a message")
      ->check(CLI::Range(1, 64 * 1024 * 1024).description(""))
      ->capture_default_str()
      ->type_name("BYTES");
  echo.add_option("--depth", settings.depth, "messages in flight on each connection")
      ->check(CLI::Range(std::size_t{1}, kMostInFlight).description(""))
      ->capture_default_str()
      ->type_name("N");
  echo.add_option("--duration", words.seconds, "seconds")
      ->check(CLI::Range(0.01, 1e6).description(""))
      ->capture_default_str()
      ->type_name("SECONDS");
  echo.add_option("--threads", settings.threads, "threads of weir-load itself")
      ->check(CLI::Range(1, 256).description(""))
      ->capture_default_str()
      ->type_name("N");
  echo.add_option("--json", settings.json_path, "also write the report to this file")
      ->type_name("FILE");
}

}  // namespace

int main(int argc, char** argv) {
  Words words;
  weir::load::EchoSettings settings;
  CLI::App app("Drives a server with load and measures what comes back.", "weir-load");
  CLI::App& echo = *app.add_subcommand("echo", "for servers that send back what they receive");
  app.require_subcommand(1);
  describe_echo(echo, words, settings);
  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& error) {
    if (error.get_exit_code() == 0) return app.exit(error);  // --help
    std::fprintf(stderr, "error: %s; see weir-load --help\n", error.what());
    return 2;
  }
  const auto target = weir::SocketAddress::parse(words.target);
  if (!target) {
    weir::fail(target.error());
    return 2;
  }
  settings.target = *target;
  settings.duration =
      std::chrono::duration_cast<weir::Duration>(std::chrono::duration<double>(words.seconds));
  settings.threads = std::min(settings.threads, settings.connections);

  const std::size_t descriptors = weir::raise_descriptor_limit();
  const std::size_t needed = settings.connections + 16 + 8 * settings.threads;
  if (needed > descriptors) {
    std::fprintf(stderr, "error: %zu connections need %zu descriptors, RLIMIT_NOFILE is %zu\n",
                 settings.connections, needed, descriptors);
    return 1;
  }
  try {
    return weir::load::run_echo(settings);
  } catch (const weir::SystemError& refused) {  // by the kernel: a loop, a thread
    return weir::fail(refused.error());
  }
}
