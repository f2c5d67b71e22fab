// Network namespaces of a test's own: routes, links and kernel settings that nobody else sees.
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

// Calls `fn` on a thread of its own in a new namespace, in which the loopback is up and nothing
// else is, and waits for it. False: not permitted here, and `fn` was not called. [any]
[[nodiscard]] bool in_net_namespace(const std::function<void()>& fn);

// `ip <arguments>` in the namespace of the calling thread.
[[nodiscard]] bool ip(const std::string& arguments);
// Writes /proc/sys/net/<name> of the namespace of the calling thread.
[[nodiscard]] bool set_net_option(const std::string& name, const std::string& value);
// Names the calling thread's namespace to `ip link set ... netns`.
pid_t this_thread_id();

}  // namespace weir::test
