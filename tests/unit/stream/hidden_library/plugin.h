// A shared library that is built with -fvisibility=hidden, as plug-ins are. It and the test program
// each have their own copy of whatever templates of weir they instantiate.
#pragma once

#include <string>

#include "weir/net/stream/tcp_connection.h"

namespace weir::test {

struct PluginContext {
  std::string name;
};

// In the library.
[[gnu::visibility("default")]] void set_in_plugin(TcpConnection& connection, std::string name);
// nullptr: the library finds no PluginContext.
[[gnu::visibility("default")]] const PluginContext* get_in_plugin(const TcpConnection& connection);
[[gnu::visibility("default")]] bool plugin_finds_a_string(const TcpConnection& connection);

}  // namespace weir::test
