#include "weir/net/stream/internal/memory_limit.h"

#include <algorithm>
#include <charconv>
#include <limits>
#include <sstream>
#include <string_view>

#include "weir/net/sys/process.h"

namespace weir::internal {

namespace {

constexpr std::uint64_t kNone = std::numeric_limits<std::uint64_t>::max();

// "max", which is not a number, and a missing file mean that there is no limit.
std::uint64_t limit_in(const std::string& path) {
  const auto text = sys::read_file(path);
  if (!text) return kNone;
  std::uint64_t bytes = 0;
  const auto [end, error] = std::from_chars(text->data(), text->data() + text->size(), bytes);
  return error == std::errc() ? bytes : kNone;
}

// The smallest limit from `group` up to the root of the hierarchy. A container may see the names of
// its host, but only its own part of the hierarchy: then only the root is found, which is its own.
std::uint64_t smallest_limit(const std::string& mount, std::string group, const char* name) {
  std::uint64_t smallest = kNone;
  for (;;) {
    smallest = std::min(smallest, limit_in(mount + group + "/" + name));
    if (group.empty()) return smallest;
    group.resize(group.find_last_of('/'));
  }
}

bool names_memory(std::string_view controllers) {
  for (std::size_t begin = 0; begin <= controllers.size();) {
    const std::size_t end = std::min(controllers.find(',', begin), controllers.size());
    if (controllers.substr(begin, end - begin) == "memory") return true;
    begin = end + 1;
  }
  return false;
}

}  // namespace

std::uint64_t memory_limit(const std::string& root) {
  std::uint64_t smallest = sys::machine_memory().value_or(kNone);
  // cgroups(7): number:controllers:/path
  std::istringstream groups(sys::read_file(root + "/proc/self/cgroup").value_or(""));
  for (std::string line; std::getline(groups, line);) {
    const std::size_t first = line.find(':');
    const std::size_t second = line.find(':', first + 1);
    if (first == std::string::npos || second == std::string::npos) continue;
    const std::string_view controllers =
        std::string_view(line).substr(first + 1, second - first - 1);
    std::string path = line.substr(second + 1);
    if (path.empty() || path.front() != '/' || path.starts_with("/..")) path.clear();
    while (path.ends_with('/')) path.pop_back();
    if (controllers.empty()) {  // v2, alone or beside v1
      for (const char* mount : {"/sys/fs/cgroup", "/sys/fs/cgroup/unified"}) {
        smallest = std::min(smallest, smallest_limit(root + mount, path, "memory.max"));
      }
    } else if (names_memory(controllers)) {
      smallest = std::min(
          smallest, smallest_limit(root + "/sys/fs/cgroup/memory", path, "memory.limit_in_bytes"));
    }
  }
  return smallest == kNone ? 0 : smallest;
}

}  // namespace weir::internal
