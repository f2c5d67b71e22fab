#include "common/command_line.h"

#include <string>
#include <utility>
#include <vector>

#include "program/command_line.h"
#include "program/standard_streams.h"
#include "weir/base/fd.h"
#include "weir/base/result.h"
#include "weir/net/socket/socket_address.h"

namespace sample {
namespace {

constexpr std::size_t kMostConnections = 10'000'000;

// A CLI11 validator: returns an empty string, or the error.
std::string check_address(const std::string& text) {
  const auto address = weir::SocketAddress::parse(text);
  return address ? "" : address.error().message();
}

}  // namespace

CLI::Option* listen_option(CLI::App& app, std::vector<std::string>& addresses) {
  CLI::Option* option = app.add_option("--listen", addresses,
                                       "127.0.0.1:7000, [::1]:7000, unix:/path, unix:@name; "
                                       "port 0: any free port")
                            ->delimiter(',')
                            ->check(CLI::Validator(check_address, ""))
                            ->type_name("ADDR");
  return addresses.empty() ? option->required() : option->capture_default_str();
}

CLI::Option* address_option(CLI::App& app, const std::string& name, std::string& address,
                            const std::string& what) {
  CLI::Option* option = app.add_option(name, address, what)
                            ->check(CLI::Validator(check_address, ""))
                            ->type_name("ADDR");
  return address.empty() ? option->required() : option->capture_default_str();
}

CLI::Option* seconds_option(CLI::App& app, const std::string& name, weir::Duration& duration,
                            const std::string& what) {
  return weir::program::seconds_option(app, name, duration, 0, 1e9, what);
}

CLI::Option* threads_option(CLI::App& app, std::size_t& threads) {
  return weir::program::number_option(app, "--threads", threads, 0, 1024, "N",
                                      "loops, one thread each; 0: one loop on the main thread");
}

CLI::Option* connections_option(CLI::App& app, std::size_t& connections) {
  return weir::program::number_option(app, "--max-connections", connections, 0, kMostConnections,
                                      "N", "clients at a time; 0: as many as RLIMIT_NOFILE allows");
}

CLI::Option* per_client_option(CLI::App& app, std::size_t& connections) {
  return weir::program::number_option(
      app, "--max-per-client", connections, 0, kMostConnections, "N",
      "connections of one IPv4 address or IPv6 /64 at a time; 0: no limit");
}

CLI::Option* stats_option(CLI::App& app, weir::Duration& every) {
  return weir::program::seconds_option(app, "--stats", every, 0.01, 1e9,
                                       "between two lines of statistics")
      ->default_str("");
}

void words_option(CLI::App& app, const std::string& name, std::vector<std::string>& words,
                  const std::string& what) {
  app.add_option(name, what)->expected(0, 1)->type_name("WORD ...");  // for --help only
  app.prefix_command();
  app.final_callback([&app, &words] {
    std::vector<std::string> left = app.remaining();
    if (left.empty()) return;
    if (left.front() == "--") {
      left.erase(left.begin());
    } else if (left.front().starts_with('-')) {
      throw CLI::ExtrasError(app.get_name(), {left.front()});
    }
    if (!left.empty()) words = std::move(left);
  });
}

std::string joined(const std::vector<std::string>& words) { return CLI::detail::join(words, " "); }

int run(CLI::App& app, int argc, char** argv, const std::function<int()>& program) {
  weir::program::keep_standard_descriptors();
  if (const auto status = weir::program::read_command_line(app, argc, argv)) return *status;
  weir::raise_descriptor_limit();
  try {
    return weir::program::finish_output(program());
  } catch (const weir::SystemError& refused) {  // out of descriptors or memory
    return weir::fail(refused.error());
  }
}

}  // namespace sample
