// The bound on what all connections of the process buffer together. [any]
//
// Counted are bytes that wait to be sent (each waiting message with 64 bytes of its own; bytes of
// files are not, and a message that several connections share is counted for each) and the memory
// of input that handlers have left. docs/flow_control.md says what happens at the bound.
#pragma once

#include "weir/base/requirements.h"

#include <cstdint>

#include "weir/base/export.h"

namespace WEIR_EXPORT weir {

// The bound in bytes, for all servers and clients of the process from now on; 0: none. At first it
// is a quarter of the machine's memory, or of the limit of the process's memory cgroup if that is
// less (as it is when this, or a server or client, is first used).
void set_buffer_budget(std::uint64_t bytes);
std::uint64_t buffer_budget();

// Bytes buffered now. Each loop may be late by 64 KiB for each server and client that it serves.
std::uint64_t buffered_bytes();

}  // namespace weir
