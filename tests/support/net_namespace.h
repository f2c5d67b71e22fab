// Network namespaces for a test, with its own routes, links and kernel settings.
//
//   const bool done = in_net_namespace([] {
//     ASSERT_TRUE(ip("route add prohibit 10.2.0.0/16"));
//     ...
//   });
//   if (!done) GTEST_SKIP() << kNoNamespace;
#pragma once

#include <sys/types.h>

#include <functional>
#include <string>

namespace weir::test {

inline constexpr const char* kNoNamespace =
    "a network namespace of the test's own takes CAP_SYS_ADMIN, and ip(8)";

// Calls `fn` on a new thread in a new namespace, in which only the loopback is up, and waits for
// it. False: the system does not permit that, and `fn` was not called. [any]
[[nodiscard]] bool in_net_namespace(const std::function<void()>& fn);

// `ip <arguments>` in the namespace of the calling thread.
[[nodiscard]] bool ip(const std::string& arguments);
// Writes /proc/sys/net/<name> of the namespace of the calling thread.
[[nodiscard]] bool set_net_option(const std::string& name, const std::string& value);
// The name of the calling thread's namespace for `ip link set ... netns`.
pid_t this_thread_id();

}  // namespace weir::test
