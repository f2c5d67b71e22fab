// What the command lines of all samples have in common. The rest of each is on its own page.
#pragma once

#include <CLI/CLI.hpp>
#include <functional>
#include <map>
#include <string>
#include <vector>

#include "weir/base/clock.h"

namespace sample {

// --listen ADDR[,ADDR...]: what `addresses` holds is the default; without one it is required.
CLI::Option* listen_option(CLI::App& app, std::vector<std::string>& addresses);

// An option whose value is an address as weir writes them.
CLI::Option* address_option(CLI::App& app, const std::string& name, std::string& address,
                            const std::string& what);

// An option in seconds, fractions allowed. What `duration` holds is the default.
CLI::Option* seconds_option(CLI::App& app, const std::string& name, weir::Duration& duration,
                            const std::string& what);

// An option whose value is one of some names, which outlive `app`. Without it `value` stays as it
// is.
template <typename Value>
CLI::Option* choice_option(CLI::App& app, const std::string& name,
                           const std::map<std::string, Value>& choices, Value& value,
                           const std::string& what) {
  return app
      .add_option_function<std::string>(
          name, [&choices, &value](const std::string& chosen) { value = choices.at(chosen); }, what)
      ->check(CLI::IsMember(choices).description(""));
}

// --threads N, for TcpServer::Options.
CLI::Option* threads_option(CLI::App& app, std::size_t& threads);

// --max-connections N, for TcpServer::Options.
CLI::Option* connections_option(CLI::App& app, std::size_t& connections);

// --max-per-client N, for TcpServer::Options.
CLI::Option* per_client_option(CLI::App& app, std::size_t& connections);

// --stats SECONDS: how often to print a line of numbers. Zero, the default: never.
CLI::Option* stats_option(CLI::App& app, weir::Duration& every);

// The words from the first one on that is neither an option nor the value of one, or all after --.
// They are taken as they are, and options come before them; in a list of CLI11's own "[a,b]" would
// be two words. Without any, `words` stays as it is.
void words_option(CLI::App& app, const std::string& name, std::vector<std::string>& words,
                  const std::string& what);
// With a space between two.
std::string joined(const std::vector<std::string>& words);

// Reads the command line (program/command_line.h) and runs the program; returns what main()
// returns. A refusal by the kernel (SystemError) gives a sentence and 1, and so does output that
// was lost. The program may have all the descriptors that this process is allowed, and none of them
// is 0 to 2.
int run(CLI::App& app, int argc, char** argv, const std::function<int()>& program);

}  // namespace sample
