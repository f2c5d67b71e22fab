// Command-line options that the samples share.
#pragma once

#include <CLI/CLI.hpp>
#include <functional>
#include <map>
#include <string>
#include <vector>

#include "weir/base/clock.h"

namespace sample {

// --listen ADDR[,ADDR...]. The default is the value of `addresses`; if it is empty, the option is
// required.
CLI::Option* listen_option(CLI::App& app, std::vector<std::string>& addresses);

// An option whose value is an address as weir writes them.
CLI::Option* address_option(CLI::App& app, const std::string& name, std::string& address,
                            const std::string& what);

// An option in seconds; fractions are allowed. The default is the value of `duration`.
CLI::Option* seconds_option(CLI::App& app, const std::string& name, weir::Duration& duration,
                            const std::string& what);

// An option whose value is a key of `choices`, which must outlive `app`. The default is `value`.
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

// --stats SECONDS: the interval between two lines of statistics. Zero, the default: none.
CLI::Option* stats_option(CLI::App& app, weir::Duration& every);

// All words from the first one that is neither an option nor the value of an option, or all words
// after --. Options come before them. The words are not interpreted; a list option of CLI11 would
// split "[a,b]" into two words. The default is the value of `words`.
void words_option(CLI::App& app, const std::string& name, std::vector<std::string>& words,
                  const std::string& what);
// The words, separated by spaces.
std::string joined(const std::vector<std::string>& words);

// Reads the command line (program/command_line.h) and runs the program; returns the exit code of
// main(). A SystemError gives a sentence on standard error and 1, and so does a failed write to
// standard output. Raises the limit of descriptors to its maximum, and reserves the descriptors 0
// to 2 if they are closed.
int run(CLI::App& app, int argc, char** argv, const std::function<int()>& program);

}  // namespace sample
