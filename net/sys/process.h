// Queries about the process and the machine. They go through the thread's SysTable, as everything
// in sys. Internal. [any]
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>

#include "weir/base/clock.h"
#include "weir/base/result.h"

namespace weir::internal::sys {

// The number of descriptors that this process may have: RLIMIT_NOFILE, getrlimit(2). nullopt: no
// limit, or unknown.
std::optional<std::uint64_t> descriptor_limit();
// The memory of the machine in bytes. nullopt: unknown.
std::optional<std::uint64_t> machine_memory();

// The resources used by the calling thread, getrusage(2). Zero: unknown.
struct ThreadUsage {
  Duration cpu{};
  std::uint64_t waits = 0;  // voluntary context switches
};
ThreadUsage usage_of_this_thread();

// Number of the network interface with this name, if_nametoindex(3), and the reverse.
SysResult<unsigned> interface_index(const std::string& name);
SysResult<std::string> interface_name(unsigned index);

// 64 bits that nobody can guess. Never waits: early at boot, when the kernel has no random bits
// yet, the result only differs from process to process.
std::uint64_t random_bits();

// The contents of a small file, such as those in /proc and /sys: at most the first 64 KiB.
SysResult<std::string> read_file(const std::string& path);

}  // namespace weir::internal::sys
