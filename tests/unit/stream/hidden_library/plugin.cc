#include "plugin.h"

#include <utility>

namespace weir::test {

void set_in_plugin(TcpConnection& connection, std::string name) {
  connection.set_context<PluginContext>(std::move(name));
}

const PluginContext* get_in_plugin(const TcpConnection& connection) {
  return connection.context<PluginContext>();
}

bool plugin_finds_a_string(const TcpConnection& connection) {
  return connection.context<std::string>() != nullptr;
}

}  // namespace weir::test
