#include "weir/net/socket/socket_file.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <optional>
#include <string_view>
#include <utility>

#include "weir/net/sys/sys.h"

namespace weir::internal {
namespace {

constexpr mode_t kPermissions = 07777;

std::unexpected<Error> failed(const std::string& doing, std::string_view step, Errno code) {
  return std::unexpected(Error(fmt::format("{}: {}", doing, step), code));
}

std::string_view kind_of(mode_t mode) {
  if (S_ISREG(mode)) return "a regular file";
  if (S_ISDIR(mode)) return "a directory";
  if (S_ISLNK(mode)) return "a symbolic link";
  return "a file that is not a socket";
}

FileId id_of(const struct stat& status) {
  return {.device = status.st_dev, .inode = status.st_ino};
}

// A path to the open file itself, not to its name, for system calls that take no descriptor.
std::string path_of(const Fd& file) { return fmt::format("/proc/self/fd/{}", file.get()); }

// A path, resolved now: an open folder and a name in it.
struct Place {
  static SysResult<Place> of(const SocketAddress& address) {
    const std::string path = address.unix_name();
    const auto slash = path.rfind('/');
    std::string folder = slash == std::string::npos ? "." : path.substr(0, slash + 1);
    auto opened = sys::open(folder.c_str(), O_PATH | O_DIRECTORY);
    if (!opened) return std::unexpected(opened.error());
    return Place{.folder = std::move(*opened), .name = path.substr(slash + 1)};
  }
  // The file itself, not what a symbolic link points to; for fstat() and path_of() only.
  SysResult<Fd> open() const {
    return sys::openat(folder.get(), name.c_str(), O_PATH | O_NOFOLLOW);
  }

  Fd folder;
  std::string name;
};

bool has(int folder, const std::string& name, const FileId& id) {
  const auto now = sys::fstatat(folder, name.c_str());
  return now && id_of(*now) == id;
}

// Connects to the opened file or, without /proc, to the path.
SysResult<void> probe(const Fd& file, const SocketAddress& address, Socket& with) {
  const auto direct = SocketAddress::from_unix_path(path_of(file));
  auto answer = with.connect(*direct);
  if (!answer && answer.error() == ENOENT) answer = with.connect(address);
  return answer;
}

// Removes the socket file of a program that ended without removing it.
//
// Only the probed file is removed, and only when the kernel reports that nobody receives on it. If
// two servers start on one path at the same time, one can remove the file of the other between its
// bind and its listen; then open() of the other returns an error. (It does not notice if the first
// one removes the file only after that check. Programs that must exclude this need a lock of their
// own.)
std::optional<std::unexpected<Error>> remove_stale(const Place& place, const SocketAddress& address,
                                                   SocketFile::Use use, const std::string& doing) {
  const auto file = place.open();
  if (!file && file.error() == ENOENT) return std::nullopt;
  if (!file) return failed(doing, "open the existing file", file.error());
  const auto status = sys::fstat(file->get());
  if (!status) return failed(doing, "fstat of the existing file", status.error());
  if (!S_ISSOCK(status->st_mode)) {
    return failed(doing, fmt::format("{} is in the way", kind_of(status->st_mode)),
                  Errno(EADDRINUSE));
  }

  auto with = use == SocketFile::Use::listener ? Socket::stream(address.family())
                                               : Socket::datagram(address.family());
  if (!with) return failed(doing, "socket", with.error());
  const auto answer = probe(*file, address, *with);
  if (!answer && answer.error() == ENOENT) return std::nullopt;
  if (answer || answer.error() != ECONNREFUSED) {
    // EAGAIN is a listener whose queue is full and EPROTOTYPE a socket of another type. After
    // EACCES nothing is known. None of these files may be removed.
    const bool unknown = !answer && (answer.error() == EACCES || answer.error() == EPERM);
    return failed(doing,
                  unknown ? "no permission to connect to the socket at this path"
                          : "another program listens there",
                  Errno(EADDRINUSE));
  }

  if (!has(place.folder.get(), place.name, id_of(*status))) return std::nullopt;
  if (auto done = sys::unlinkat(place.folder.get(), place.name.c_str());
      !done && done.error() != ENOENT) {
    return failed(doing, "remove the unused socket file", done.error());
  }
  return std::nullopt;
}

}  // namespace

SocketFile::SocketFile(SocketFile&& other) noexcept { *this = std::move(other); }

SocketFile::~SocketFile() { remove(); }

SocketFile& SocketFile::operator=(SocketFile&& other) noexcept {
  if (this != &other) {
    remove();
    folder_ = std::move(other.folder_);
    name_ = std::move(other.name_);
    id_ = std::exchange(other.id_, {});
    ours_ = std::move(other.ours_);
    process_ = other.process_;
  }
  return *this;
}

Result<SocketFile> SocketFile::bind(Socket& socket, const SocketAddress& address, mode_t mode,
                                    Use use, const std::string& doing) {
  auto place = Place::of(address);
  if (!place) return failed(doing, "open the folder", place.error());
  if (use != Use::client) {
    if (auto refused = remove_stale(*place, address, use, doing)) return *refused;
  }
  // Linux creates the file with the permissions of the socket itself, less the umask. (The umask
  // belongs to the whole process and is not changed here.) If this fails, the chmod below still
  // comes before listen, and nobody can connect before listen.
  static_cast<void>(sys::fchmod(socket.fd(), mode));
  if (auto done = socket.bind(address); !done) return failed(doing, "bind", done.error());

  const auto replaced = [&] {
    return failed(doing, "the new socket's file was replaced", Errno(EADDRINUSE));
  };
  const auto file = place->open();
  if (!file) return failed(doing, "open the new socket's file", file.error());
  const auto made = sys::fstat(file->get());
  if (!made) return failed(doing, "fstat of the new socket's file", made.error());
  if (!S_ISSOCK(made->st_mode)) return replaced();

  SocketFile result;
  result.folder_ = std::move(place->folder);
  result.name_ = std::move(place->name);
  result.id_ = id_of(*made);
  result.ours_ = std::make_shared<std::atomic<bool>>(true);
  result.process_ = sys::process_generation();
  if ((made->st_mode & kPermissions) != mode) {
    if (made->st_uid != ::geteuid()) {  // another user's socket has taken the place
      result.leave();
      return replaced();
    }
    if (auto done = sys::chmod(path_of(*file).c_str(), mode); !done) {
      return failed(doing, "chmod through /proc", done.error());
    }
  }
  return result;
}

SysResult<SocketFile> SocketFile::own(const SocketAddress& address, const FileId& id,
                                      std::shared_ptr<std::atomic<bool>> ours) {
  SocketFile result;
  result.id_ = id;
  result.ours_ = std::move(ours);
  result.process_ = sys::process_generation();
  if (id == FileId{}) return result;
  auto place = Place::of(address);
  if (!place) return std::unexpected(place.error());
  result.folder_ = std::move(place->folder);
  result.name_ = std::move(place->name);
  return result;
}

bool SocketFile::stands(const SocketAddress& address, const FileId& id) {
  const auto place = Place::of(address);
  return place && has(place->folder.get(), place->name, id);
}

void SocketFile::leave() {
  if (ours_) ours_->store(false, std::memory_order_relaxed);
}

void SocketFile::remove() {
  const bool ours = folder_.valid() && ours_ != nullptr && ours_->load(std::memory_order_relaxed) &&
                    process_ == sys::process_generation();
  if (ours && has(folder_.get(), name_, id_)) {
    static_cast<void>(sys::unlinkat(folder_.get(), name_.c_str()));
  }
  folder_.reset();
  ours_.reset();
  id_ = {};
}

}  // namespace weir::internal
