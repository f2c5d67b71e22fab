// The descriptors, threads, children and CPU time of this process. [any]
#pragma once

#include <sys/types.h>

#include <cstddef>
#include <map>
#include <set>
#include <string>

#include "weir/base/clock.h"

namespace weir::test {

// Open descriptors with their links: "socket:[4711]", "anon_inode:[eventpoll]", "/dev/null".
std::map<int, std::string> open_descriptors();
// Thread ids with their names.
std::map<pid_t, std::string> threads();
// How many of them weir has started.
std::ptrdiff_t threads_of_weir();
// Whether a child exists that was not waited for.
bool has_children();

// CPU time used so far, user and system.
Duration thread_cpu_time();
Duration process_cpu_time();

}  // namespace weir::test
