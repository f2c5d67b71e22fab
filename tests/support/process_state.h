// What a process holds: descriptors, threads, children, CPU time. [any]
#pragma once

#include <sys/types.h>

#include <cstddef>
#include <map>
#include <set>
#include <string>

#include "weir/base/clock.h"

namespace weir::test {

// Open descriptors and what they are: "socket:[4711]", "anon_inode:[eventpoll]", "/dev/null".
std::map<int, std::string> open_descriptors();
// Thread ids with their names.
std::map<pid_t, std::string> threads();
// Those of them that weir has started.
std::ptrdiff_t threads_of_weir();
// Whether there is a child that was not waited for.
bool has_children();

// CPU time used so far, user and system.
Duration thread_cpu_time();
Duration process_cpu_time();

}  // namespace weir::test
