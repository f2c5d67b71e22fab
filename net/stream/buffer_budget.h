// The buffer budget: the bound on the memory that all connections of the process buffer together.
// [any]
//
// It counts output that waits to be sent, with 64 bytes in addition for each waiting message, and
// the memory of input that handlers left. A message that several connections share is counted for
// each of them; bytes of files are not counted. docs/flow_control.md describes what happens when
// the budget is spent.
#pragma once

#include "weir/base/requirements.h"

#include <cstdint>

#include "weir/base/export.h"

namespace WEIR_EXPORT weir {

// Sets the bound in bytes for all servers and clients of the process from now on; 0: no bound. The
// default is a quarter of the machine's memory, or of the limit of the process's memory cgroup if
// that is less, as read when one of these functions, a server or a client is first used.
void set_buffer_budget(std::uint64_t bytes);
std::uint64_t buffer_budget();

// Bytes buffered now. May be off by 64 KiB for each loop of each server and client.
std::uint64_t buffered_bytes();

}  // namespace weir
