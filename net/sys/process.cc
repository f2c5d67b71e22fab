#include "weir/net/sys/process.h"

#include <fcntl.h>
#include <net/if.h>
#include <sys/random.h>
#include <sys/resource.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <chrono>
#include <span>

#include "weir/base/keyed_hash.h"
#include "weir/net/sys/sys.h"

namespace weir::internal::sys {

namespace {

constexpr std::size_t kMaxFile = 64 * 1024;

}  // namespace

std::optional<std::uint64_t> descriptor_limit() {
  rlimit files{};
  if (table().getrlimit(RLIMIT_NOFILE, &files) != 0) return std::nullopt;
  if (files.rlim_cur == RLIM_INFINITY) return std::nullopt;
  return files.rlim_cur;
}

std::optional<std::uint64_t> machine_memory() {
  const long pages = table().sysconf(_SC_PHYS_PAGES);
  const long page = table().sysconf(_SC_PAGESIZE);
  if (pages <= 0 || page <= 0) return std::nullopt;
  return static_cast<std::uint64_t>(pages) * static_cast<std::uint64_t>(page);
}

ThreadUsage usage_of_this_thread() {
  rusage usage{};
  if (table().getrusage(RUSAGE_THREAD, &usage) != 0) return {};
  const auto time = [](const timeval& t) -> Duration {
    return std::chrono::seconds(t.tv_sec) + std::chrono::microseconds(t.tv_usec);
  };
  return {.cpu = time(usage.ru_utime) + time(usage.ru_stime),
          .waits = static_cast<std::uint64_t>(usage.ru_nvcsw)};
}

SysResult<unsigned> interface_index(const std::string& name) {
  const unsigned index = table().if_nametoindex(name.c_str());
  if (index == 0) return std::unexpected(Errno(errno));
  return index;
}

SysResult<std::string> interface_name(unsigned index) {
  std::array<char, IF_NAMESIZE> name{};
  if (table().if_indextoname(index, name.data()) == nullptr) return std::unexpected(Errno(errno));
  return name.data();
}

std::uint64_t random_bits() {
  std::uint64_t bits = 0;
  const ssize_t got = table().getrandom(&bits, sizeof(bits), GRND_NONBLOCK);
  if (got == static_cast<ssize_t>(sizeof(bits))) return bits;
  const std::int64_t time = now().time_since_epoch().count();
  return keyed_hash(std::as_bytes(std::span(&time, 1)));
}

SysResult<std::string> read_file(const std::string& path) {
  const auto file = open(path.c_str(), O_RDONLY | O_CLOEXEC);
  if (!file) return std::unexpected(file.error());
  std::string text;
  for (std::size_t size = 0;;) {
    text.resize(std::min(size + 4096, kMaxFile));
    const auto got = read(file->get(), std::as_writable_bytes(std::span(text).subspan(size)));
    if (!got) return std::unexpected(got.error());
    size += *got;
    if (*got > 0 && size < kMaxFile) continue;
    text.resize(size);
    return text;
  }
}

}  // namespace weir::internal::sys
