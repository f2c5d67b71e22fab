#include "common/command_line.h"

#include <chrono>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <string>

#include "weir/base/fd.h"
#include "weir/base/result.h"
#include "weir/net/socket/socket_address.h"

namespace sample {
namespace {

using Seconds = std::chrono::duration<double>;

// A validator of CLI11: an empty string, or what is wrong.
std::string check_address(const std::string& text) {
  const auto address = weir::SocketAddress::parse(text);
  return address ? "" : address.error().message();
}

// Another one: CLI::Range lets pass what is neither too small nor too large.
std::string refuse_nan(const std::string& text) {
  return std::isnan(std::strtod(text.c_str(), nullptr)) ? text + " is not a number" : "";
}

}  // namespace

CLI::Option* listen_option(CLI::App& app, std::vector<std::string>& addresses) {
  CLI::Option* option = app.add_option("--listen", addresses,
                                       "127.0.0.1:7000, [::1]:7000, unix:/path, unix:@name; "
                                       "port 0: any that is free")
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
  return app
      .add_option_function<double>(
          name,
          [&duration](double value) {
            duration = std::chrono::duration_cast<weir::Duration>(Seconds(value));
          },
          what)
      ->check(CLI::Range(0.0, 1e9).description(""))
      ->check(CLI::Validator(refuse_nan, ""))
      ->default_str(CLI::detail::to_string(Seconds(duration).count()))
      ->type_name("SECONDS");
}

CLI::Option* threads_option(CLI::App& app, std::size_t& threads) {
  return app
      .add_option("--threads", threads, "loops, one thread each; 0: one loop, no more threads")
      ->check(CLI::Range(0, 1024).description(""))
      ->capture_default_str()
      ->type_name("N");
}

int run(CLI::App& app, int argc, char** argv, const std::function<int()>& program) {
  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& error) {
    if (error.get_exit_code() == 0) return app.exit(error);  // --help
    std::fprintf(stderr, "error: %s; see %s --help\n", error.what(), app.get_name().c_str());
    return 2;
  }
  weir::raise_descriptor_limit();
  try {
    return program();
  } catch (const weir::SystemError& refused) {  // no descriptor, no memory
    return weir::fail(refused.error());
  }
}

}  // namespace sample
