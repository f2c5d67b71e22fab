// What weir asks about its process and the machine. Through the thread's SysTable, as all of sys.
// Internal. [any]
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>

#include "weir/base/clock.h"
#include "weir/base/result.h"

namespace weir::internal::sys {

// RLIMIT_NOFILE, getrlimit(2): descriptors that this process may have. None: no limit, or not
// known.
std::optional<std::uint64_t> descriptor_limit();
// Bytes of memory that the machine has. None: not known.
std::optional<std::uint64_t> machine_memory();

// What the calling thread has used, getrusage(2). Zero: not known.
struct ThreadUsage {
  Duration cpu{};
  std::uint64_t waits = 0;  // times that it gave the processor away, to wait
};
ThreadUsage usage_of_this_thread();

// The number of a network interface, if_nametoindex(3), and its name.
SysResult<unsigned> interface_index(const std::string& name);
SysResult<std::string> interface_name(unsigned index);

// 64 bits that nobody can guess. At the very start of a machine, when the kernel has none yet, bits
// that differ from process to process; nobody waits here.
std::uint64_t random_bits();

// The contents of a file such as those of /proc and /sys, at most 64 KiB of it.
SysResult<std::string> read_file(const std::string& path);

}  // namespace weir::internal::sys
