// A script of sim_golden about sockets that listen: binding, connecting, accepting, closing and
// shutting down while connections wait.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "weir/net/sys/sys_table.h"

namespace weir::test::simulation {

// Runs the script with this number on a kernel, and returns a line for each step.
std::vector<std::string> run_listener_script(internal::SysTable& table, std::uint64_t number);

}  // namespace weir::test::simulation
