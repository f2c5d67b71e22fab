#include "weir/net/service/inherited_sockets.h"

#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <charconv>
#include <cstdlib>
#include <optional>
#include <string_view>
#include <utility>

#include "weir/net/sys/sys.h"

namespace weir {

namespace {

constexpr int kFirst = 3;  // SD_LISTEN_FDS_START: behind standard input, output and error

// Returns the value of the variable and unsets it.
std::string take_variable(const char* name) {
  const char* value = std::getenv(name);
  std::string result = value == nullptr ? "" : value;
  ::unsetenv(name);
  return result;
}

std::optional<long> number(std::string_view text) {
  long value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc() || end != text.data() + text.size()) return std::nullopt;
  return value;
}

// Removes and returns the first name of a list that is separated by colons.
std::string take_name(std::string_view& names) {
  const std::size_t end = std::min(names.find(':'), names.size());
  std::string name(names.substr(0, end));
  names.remove_prefix(std::min(end + 1, names.size()));
  return name.empty() ? "unknown" : name;
}

}  // namespace

Result<std::vector<InheritedSocket>> take_inherited_sockets() {
  const std::string pid = take_variable("LISTEN_PID");
  const std::string count = take_variable("LISTEN_FDS");
  const std::string all_names = take_variable("LISTEN_FDNAMES");
  if (pid.empty() || count.empty() || number(pid) != ::getpid()) {
    return std::vector<InheritedSocket>();
  }
  const auto fds = number(count);
  const auto refused = [&count](std::string_view why) {
    return std::unexpected(
        Error(fmt::format("inherited sockets: LISTEN_FDS is {}{}", count, why), Errno(EINVAL)));
  };
  if (!fds || *fds < 0 || *fds > static_cast<long>(kMaxInheritedSockets)) return refused("");
  // Inherited descriptors have no CLOEXEC; those that weir opens have it. Without this check, a
  // count that is too large would take over, and close, descriptors of this process.
  for (int fd = kFirst; fd < kFirst + *fds; ++fd) {
    const auto ours = internal::sys::closes_on_exec(fd);
    if (!ours) return refused(fmt::format(", but descriptor {} is not open", fd));
    if (*ours) return refused(fmt::format(", but descriptor {} was opened by this process", fd));
  }
  // Takes ownership of all before the first can fail.
  std::vector<Fd> owned;
  owned.reserve(static_cast<std::size_t>(*fds));
  for (int i = 0; i < *fds; ++i) owned.emplace_back(kFirst + i);

  std::vector<InheritedSocket> result;
  std::string_view names = all_names;
  for (Fd& fd : owned) {
    std::string name = take_name(names);
    auto socket = ListeningSocket::adopt(std::move(fd));
    if (!socket) {
      return std::unexpected(socket.error().within(fmt::format("inherited socket {}", name)));
    }
    socket->set_lent();
    result.push_back({.name = std::move(name), .socket = std::move(*socket)});
  }
  return result;
}

}  // namespace weir
