#include "file_server/shared_folder.h"

#include <dirent.h>
#include <fcntl.h>
#include <linux/openat2.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <memory>
#include <optional>
#include <ranges>
#include <string_view>
#include <utility>

namespace {

using weir::Errno;
using weir::Error;
using weir::Fd;
using weir::Result;

struct CloseFolder {
  void operator()(DIR* folder) const { ::closedir(folder); }
};

bool has_parent_step(std::string_view path) {
  return std::ranges::any_of(std::views::split(path, '/'), [](auto part) {
    return std::string_view(part.begin(), part.end()) == "..";
  });
}

std::optional<struct stat> status_of(int fd) {
  struct stat status {};
  if (::fstat(fd, &status) != 0) return std::nullopt;
  return status;
}

// Counts the names before it reads anything else about them, so too large a folder costs little.
Result<std::vector<std::string>> names_in(DIR& folder) {
  std::vector<std::string> names;
  for (;;) {
    errno = 0;
    const dirent* const next = ::readdir(&folder);
    if (next == nullptr && errno != 0) return std::unexpected(Error("readdir", Errno::last()));
    if (next == nullptr) return names;
    std::string name = next->d_name;
    if (name == "." || name == "..") continue;
    if (names.size() == SharedFolder::kMaxEntries) {
      return std::unexpected(Error("the folder has more than " +
                                   std::to_string(SharedFolder::kMaxEntries) + " entries"));
    }
    names.push_back(std::move(name));
  }
}

}  // namespace

Result<SharedFolder> SharedFolder::open(const std::string& path) {
  Fd root(::open(path.c_str(), O_PATH | O_DIRECTORY | O_CLOEXEC));
  if (!root) return std::unexpected(Error("open " + path, Errno::last()));
  SharedFolder folder(std::move(root));
  if (auto itself = folder.open_below(".", O_RDONLY | O_DIRECTORY); !itself) {
    if (itself.error().code() == ENOSYS) {
      return std::unexpected(Error("this kernel has no openat2(2): Linux 5.6 or newer is needed"));
    }
    return std::unexpected(itself.error().within("open " + path));
  }
  return folder;
}

Result<Fd> SharedFolder::open_below(const std::string& path, int flags) const {
  if (path.contains('\0')) return std::unexpected(Error("a path must not contain NUL"));
  if (has_parent_step(path)) return std::unexpected(Error("a path must not contain .."));
  open_how how{};
  how.flags = static_cast<unsigned>(flags | O_CLOEXEC);
  how.resolve = RESOLVE_BENEATH | RESOLVE_NO_MAGICLINKS;
  for (int tries = 0;; ++tries) {
    const long fd = ::syscall(SYS_openat2, root_.get(), path.c_str(), &how, sizeof(how));
    if (fd >= 0) return Fd(static_cast<int>(fd));
    if (errno == EINTR) continue;
    if (errno == EAGAIN && tries < 3) continue;  // something was renamed at the same time
    if (errno == EXDEV) return std::unexpected(Error("the path leads out of the shared folder"));
    return std::unexpected(Error("open", Errno::last()));
  }
}

// O_NONBLOCK: if the path is a FIFO without a writer, open() would wait for one.
Result<SharedFolder::File> SharedFolder::open_file(const std::string& path) const {
  auto fd = open_below(path, O_RDONLY | O_NONBLOCK | O_NOCTTY);
  if (!fd) return std::unexpected(fd.error());
  const auto status = status_of(fd->get());
  if (!status) return std::unexpected(Error("fstat", Errno::last()));
  if (S_ISDIR(status->st_mode)) return std::unexpected(Error("it is a folder"));
  if (!S_ISREG(status->st_mode)) return std::unexpected(Error("it is not a regular file"));
  return File{.fd = std::move(*fd), .size = static_cast<std::uint64_t>(status->st_size)};
}

// Empty if it is neither a file nor a folder, or no longer exists.
std::optional<SharedFolder::Entry> SharedFolder::entry_of(int folder, const std::string& path,
                                                          const std::string& name) const {
  struct stat status {};
  if (::fstatat(folder, name.c_str(), &status, AT_SYMLINK_NOFOLLOW) != 0) return std::nullopt;
  if (S_ISLNK(status.st_mode)) {
    std::string link = path.empty() ? "." : path;
    link.append("/").append(name);
    const auto target = open_below(link, O_PATH);
    const auto followed = target ? status_of(target->get()) : std::nullopt;
    if (!followed) return std::nullopt;  // leads out of the folder, or to nothing
    status = *followed;
  }
  if (S_ISDIR(status.st_mode)) return Entry{.name = name, .folder = true};
  if (!S_ISREG(status.st_mode)) return std::nullopt;
  return Entry{.name = name, .size = static_cast<std::uint64_t>(status.st_size)};
}

Result<std::vector<SharedFolder::Entry>> SharedFolder::list(const std::string& path) const {
  auto fd = open_below(path.empty() ? "." : path, O_RDONLY | O_DIRECTORY);
  if (!fd) return std::unexpected(fd.error());
  const std::unique_ptr<DIR, CloseFolder> folder(::fdopendir(fd->get()));
  if (!folder) return std::unexpected(Error("fdopendir", Errno::last()));
  const int number = fd->release();  // now owned by the DIR

  const auto names = names_in(*folder);
  if (!names) return std::unexpected(names.error());
  std::vector<Entry> entries;
  for (const std::string& name : *names) {
    if (auto entry = entry_of(number, path, name)) entries.push_back(std::move(*entry));
  }
  std::ranges::sort(entries, {}, &Entry::name);
  return entries;
}
