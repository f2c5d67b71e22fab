#include "sockstat/proc_files.h"

#include <fmt/format.h>

#include <cerrno>
#include <charconv>
#include <filesystem>
#include <fstream>
#include <sstream>
#include <system_error>
#include <vector>

namespace weir::sockstat {

namespace {

namespace fs = std::filesystem;

std::vector<std::string_view> words_of(std::string_view line) {
  std::vector<std::string_view> words;
  while (!line.empty()) {
    const std::size_t space = std::min(line.find(' '), line.size());
    if (space > 0) words.push_back(line.substr(0, space));
    line.remove_prefix(std::min(space + 1, line.size()));
  }
  return words;
}

std::string_view next_line(std::string_view& text) {
  const std::string_view line = text.substr(0, text.find('\n'));
  text.remove_prefix(std::min(line.size() + 1, text.size()));
  return line;
}

template <typename Number>
Number number_of(std::string_view text) {
  Number value{};
  std::from_chars(text.data(), text.data() + text.size(), value);
  return value;
}

Error of_process(int pid, std::error_code code) {
  switch (code.value()) {
    case ENOENT:
    case ESRCH:
      return Error(fmt::format("there is no process {}", pid));
    case EACCES:
    case EPERM:
      return Error(fmt::format(
          "no permission to see the sockets of process {}: it is another user's, or protected",
          pid));
    default:
      return Error(fmt::format("/proc/{}", pid), Errno(code.value()));
  }
}

bool is_refusal(std::error_code code) {
  return code == std::errc::permission_denied || code == std::errc::operation_not_permitted;
}

}  // namespace

HostCounters read_netstat(std::string_view text) {
  HostCounters counters;
  while (!text.empty()) {
    const auto names = words_of(next_line(text));
    const auto numbers = words_of(next_line(text));
    if (names.empty() || names[0] != "TcpExt:" || names.size() != numbers.size()) continue;
    for (std::size_t i = 1; i < names.size(); ++i) {
      if (names[i] == "ListenOverflows") {
        counters.listen_overflows = number_of<std::uint64_t>(numbers[i]);
      } else if (names[i] == "ListenDrops") {
        counters.listen_drops = number_of<std::uint64_t>(numbers[i]);
      }
    }
  }
  return counters;
}

Result<HostCounters> host_counters() {
  std::ifstream file("/proc/net/netstat");
  std::ostringstream text;
  if (!file || !(text << file.rdbuf())) {
    return std::unexpected(Error("/proc/net/netstat cannot be read"));
  }
  return read_netstat(text.view());
}

std::optional<int> read_somaxconn() {
  std::ifstream file("/proc/sys/net/core/somaxconn");
  int value = 0;
  if (!(file >> value)) return std::nullopt;
  return value;
}

std::optional<std::uint32_t> socket_inode(std::string_view link) {
  constexpr std::string_view kBefore = "socket:[";
  if (!link.starts_with(kBefore) || !link.ends_with("]")) return std::nullopt;
  link.remove_prefix(kBefore.size());
  link.remove_suffix(1);
  std::uint32_t inode = 0;
  const auto [end, error] = std::from_chars(link.data(), link.data() + link.size(), inode);
  if (error != std::errc() || end != link.data() + link.size()) return std::nullopt;
  return inode;
}

Result<std::unordered_set<std::uint32_t>> sockets_of(int pid) {
  const fs::path process = fmt::format("/proc/{}", pid);
  std::error_code failed;
  // Sockets of another namespace are invisible here; the result must not be "none".
  const fs::path theirs = fs::read_symlink(process / "ns/net", failed);
  if (is_refusal(failed)) return std::unexpected(of_process(pid, failed));
  std::error_code ignored;
  if (!failed && theirs != fs::read_symlink("/proc/self/ns/net", ignored)) {
    return std::unexpected(
        Error(fmt::format("process {0} is in another network namespace; run it there: "
                          "nsenter --net --target {0} weir-sockstat --pid {0}",
                          pid)));
  }
  fs::directory_iterator descriptors(process / "fd", failed);
  if (failed) return std::unexpected(of_process(pid, failed));
  std::unordered_set<std::uint32_t> inodes;
  for (; !failed && descriptors != fs::directory_iterator(); descriptors.increment(failed)) {
    std::error_code unread;  // e.g. closed since it was listed
    const fs::path link = fs::read_symlink(descriptors->path(), unread);
    // Root without CAP_SYS_PTRACE can list the links but not read them.
    if (is_refusal(unread)) return std::unexpected(of_process(pid, unread));
    if (const auto inode = socket_inode(link.native())) inodes.insert(*inode);
  }
  if (failed) return std::unexpected(of_process(pid, failed));
  return inodes;
}

}  // namespace weir::sockstat
