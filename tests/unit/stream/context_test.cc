// The context of a connection as seen from a shared library with hidden visibility.
#include <gtest/gtest.h>

#include <string>

#include "hidden_library/plugin.h"
#include "support/tcp_harness.h"

namespace weir::test {
namespace {

TEST(Context, IsFoundAcrossASharedLibraryWithHiddenVisibility) {
  TcpHarness tcp;
  TestClient client = tcp.connect();
  TcpConnection& connection = *tcp.connection();

  connection.set_context<PluginContext>("of the program");
  ASSERT_NE(get_in_plugin(connection), nullptr);
  EXPECT_EQ(get_in_plugin(connection)->name, "of the program");
  EXPECT_FALSE(plugin_finds_a_string(connection));

  set_in_plugin(connection, "of the library");
  ASSERT_NE(connection.context<PluginContext>(), nullptr);
  EXPECT_EQ(connection.context<PluginContext>()->name, "of the library");
  EXPECT_EQ(connection.context<std::string>(), nullptr);
}

}  // namespace
}  // namespace weir::test
