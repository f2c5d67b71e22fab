#include "weir/net/socket/listening_socket.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <linux/filter.h>
#include <sys/socket.h>

#include <array>
#include <charconv>
#include <optional>
#include <string>
#include <utility>

#include "weir/base/log.h"
#include "weir/net/socket/sys.h"

namespace weir {
namespace {

namespace sys = internal::sys;

// What an error of open() begins with: the address, and the step that failed.
class Steps {
 public:
  explicit Steps(const SocketAddress& address) : address_(address) {}

  std::unexpected<Error> failed(std::string_view step, Errno code) const {
    return std::unexpected(
        Error(fmt::format("listen on {}: {}", address_.to_string(), step), code));
  }

 private:
  const SocketAddress& address_;
};

std::string_view kind_of(mode_t mode) {
  if (S_ISREG(mode)) return "a regular file";
  if (S_ISDIR(mode)) return "a directory";
  if (S_ISLNK(mode)) return "a symbolic link";
  return "a file that is no socket";
}

// Makes room for a Unix path by removing the socket of a listener that ended without doing so.
//
// Only the file that was probed is removed, and only when the kernel says that nobody listens on
// it. Two servers that start on one path in the same instant can still meet between one's bind and
// its listen: then open() tells the one whose file was removed. (But not if the other one took from
// its probe to its unlink for as long; who must exclude that takes a lock of their own.)
std::optional<std::unexpected<Error>> remove_stale(const SocketAddress& address,
                                                   const Steps& steps) {
  const std::string path = address.unix_name();
  const auto before = sys::lstat(path.c_str());
  // No such file, or a folder that is closed to us: bind() says it better.
  if (!before) return std::nullopt;
  if (!S_ISSOCK(before->st_mode)) {
    return steps.failed(fmt::format("{} is in the way", kind_of(before->st_mode)),
                        Errno(EADDRINUSE));
  }

  auto probe = Socket::stream(SocketAddress::Family::unix_path);
  if (!probe) return steps.failed("socket", probe.error());
  const auto answer = probe->connect(address);
  if (!answer && answer.error() == ENOENT) return std::nullopt;
  if (answer || answer.error() != ECONNREFUSED) {
    // EAGAIN is a listener whose queue is full, EPROTOTYPE a datagram socket, and after EACCES we
    // can't know: none of them is ours to remove.
    const bool unknown = !answer && (answer.error() == EACCES || answer.error() == EPERM);
    return steps.failed(unknown ? "the path belongs to a socket that may not be connected to"
                                : "another program listens there",
                        Errno(EADDRINUSE));
  }

  const auto after = sys::lstat(path.c_str());
  if (after && after->st_dev == before->st_dev && after->st_ino == before->st_ino) {
    if (auto done = sys::unlink(path.c_str()); !done && done.error() != ENOENT) {
      return steps.failed("remove the socket that nobody listens on", done.error());
    }
  }
  return std::nullopt;
}

// Whether what stands at the path now is this file.
bool stands_at(const SocketAddress& address, const SocketFile& file) {
  const auto now = sys::lstat(address.unix_name().c_str());
  return now && now->st_dev == file.device && now->st_ino == file.inode;
}

// Binds to a Unix path so that at no time the file has wider permissions than asked.
Result<SocketFile> bind_path(Socket& socket, const SocketAddress& address, mode_t mode,
                             const Steps& steps) {
  if (auto refused = remove_stale(address, steps)) return *refused;

  // Linux makes the file with the permissions of the socket itself, less the umask. (The umask is
  // of the whole process, and not ours to change.) If this fails, the chmod below still comes
  // before listen, and until then nobody can connect.
  static_cast<void>(sys::fchmod(socket.fd(), mode));
  if (auto done = socket.bind(address); !done) return steps.failed("bind", done.error());

  const std::string path = address.unix_name();
  const auto made = sys::lstat(path.c_str());
  if (!made) return steps.failed("look at the new socket's file", made.error());
  if (!S_ISSOCK(made->st_mode)) {
    return steps.failed("the new socket's file was replaced", Errno(EADDRINUSE));
  }
  if ((made->st_mode & 07777) != mode) {
    if (auto done = sys::chmod(path.c_str(), mode); !done) {
      static_cast<void>(sys::unlink(path.c_str()));
      return steps.failed("chmod", done.error());
    }
  }
  return SocketFile{.device = made->st_dev, .inode = made->st_ino};
}

// An option that only tunes: without it the listener works, and the log says so.
void tune(const SocketAddress& address, std::string_view option, SysResult<void> done) {
  if (done) return;
  WEIR_LOG(warn, "listen on {}: {}: {}; going on without it", address.to_string(), option,
           done.error().message());
}

// What must be set before bind. An option that decides who may connect must not fail.
std::optional<std::unexpected<Error>> prepare_ip(Socket& socket, const SocketAddress& address,
                                                 const ListenOptions& options, const Steps& steps) {
  tune(address, "SO_REUSEADDR", socket.set_reuse_addr(options.reuse_addr));
  if (options.reuse_port) {
    if (auto done = socket.set_reuse_port(true); !done) {
      return steps.failed("SO_REUSEPORT", done.error());
    }
  }
  if (address.family() == SocketAddress::Family::ipv6) {
    // Always said, because the default is the system's to choose (net.ipv6.bindv6only).
    if (auto done = socket.set_v6_only(options.v6_only); !done) {
      return steps.failed("IPV6_V6ONLY", done.error());
    }
  }
  return std::nullopt;
}

}  // namespace

Result<ListeningSocket> ListeningSocket::open(const SocketAddress& address,
                                              const ListenOptions& options) {
  const Steps steps(address);
  auto socket = Socket::stream(address.family());
  if (!socket) return steps.failed("socket", socket.error());

  // From here on the result's destructor undoes what was done.
  ListeningSocket result;
  result.socket_ = std::move(*socket);
  result.address_ = address;
  if (address.is_ip()) {
    if (auto refused = prepare_ip(result.socket_, address, options, steps)) return *refused;
    if (auto done = result.socket_.bind(address); !done) return steps.failed("bind", done.error());
    result.prepare_accepted(options);
  } else if (address.family() == SocketAddress::Family::unix_path) {
    const auto file = bind_path(result.socket_, address, options.unix_mode & 0777, steps);
    if (!file) return std::unexpected(file.error());
    result.own_file(*file, std::make_shared<std::atomic<bool>>(true));
  } else if (auto done = result.socket_.bind(address); !done) {
    return steps.failed("bind", done.error());
  }

  if (const int most = max_backlog(); options.backlog > most) {
    WEIR_LOG(warn, "listen on {}: the kernel cuts the backlog of {} to {} (net.core.somaxconn)",
             address.to_string(), options.backlog, most);
  }
  if (auto done = result.socket_.listen(options.backlog); !done) {
    return steps.failed("listen", done.error());
  }
  if (result.file_is_ours_ && !stands_at(address, result.file_)) {
    return steps.failed("another program took the path at the same moment", Errno(EADDRINUSE));
  }
  if (address.is_ip()) {
    sockaddr_storage bound{};
    const auto length = sys::getsockname(result.fd(), bound);
    if (!length) return steps.failed("getsockname", length.error());
    result.address_ =
        SocketAddress::from_sockaddr(reinterpret_cast<const sockaddr*>(&bound), *length);
  }
  return result;
}

Result<ListeningSocket> ListeningSocket::adopt(Fd fd) {
  const auto refused = [number = fd.get()](std::string_view why, Errno code) {
    return std::unexpected(Error(fmt::format("take over descriptor {}: {}", number, why), code));
  };
  const auto option = [&fd](int name) -> SysResult<int> {
    int value = 0;
    socklen_t length = sizeof(value);
    auto done = sys::getsockopt(fd.get(), SOL_SOCKET, name, &value, &length);
    if (!done) return std::unexpected(done.error());
    return value;
  };
  const auto type = option(SO_TYPE);
  if (!type) return refused("SO_TYPE", type.error());
  if (*type != SOCK_STREAM) return refused("it is no stream socket", Errno(ESOCKTNOSUPPORT));
  const auto listens = option(SO_ACCEPTCONN);
  if (!listens) return refused("SO_ACCEPTCONN", listens.error());
  if (*listens == 0) return refused("it does not listen", Errno(EINVAL));
  const SocketAddress address = internal::local_address_of(fd.get());
  if (address.family() == SocketAddress::Family::unspecified) {
    return refused("it listens on no address that weir knows", Errno(EAFNOSUPPORT));
  }
  if (auto done = sys::make_our_own(fd.get()); !done) return refused("fcntl", done.error());
  ListeningSocket result;
  result.socket_ = Socket(std::move(fd));
  result.address_ = address;
  return result;
}

ListeningSocket::ListeningSocket(ListeningSocket&& other) noexcept
    : socket_(std::move(other.socket_)),
      address_(std::exchange(other.address_, SocketAddress())),
      file_(std::exchange(other.file_, {})),
      file_is_ours_(std::move(other.file_is_ours_)),
      process_(other.process_),
      lent_(other.lent_),
      ending_(other.ending_.load(std::memory_order_relaxed)) {}

ListeningSocket& ListeningSocket::operator=(ListeningSocket&& other) noexcept {
  if (this != &other) {
    close();
    socket_ = std::move(other.socket_);
    address_ = std::exchange(other.address_, SocketAddress());
    file_ = std::exchange(other.file_, {});
    file_is_ours_ = std::move(other.file_is_ours_);
    process_ = other.process_;
    lent_ = other.lent_;
    ending_ = other.ending_.load(std::memory_order_relaxed);
  }
  return *this;
}

ListeningSocket::~ListeningSocket() { close(); }

void ListeningSocket::close() {
  const bool ours = file_is_ours_ != nullptr && file_is_ours_->load(std::memory_order_relaxed) &&
                    process_ == sys::process_generation();
  if (ours && file_.inode != 0 && socket_.valid()) {
    // While the socket is open it holds on to its inode, so the number can't stand for another
    // file.
    if (stands_at(address_, file_)) static_cast<void>(sys::unlink(address_.unix_name().c_str()));
  }
  file_ = {};
  file_is_ours_.reset();
  socket_.close();
}

void ListeningSocket::prepare_accepted(const ListenOptions& options) {
  if (!address_.is_ip()) return;
  tune(address_, "TCP_NODELAY", socket_.set_nodelay(options.nodelay));
  if (options.keep_alive) tune(address_, "SO_KEEPALIVE", socket_.set_keep_alive(KeepAlive{}));
  if (options.user_timeout > Duration::zero()) {
    tune(address_, "TCP_USER_TIMEOUT",
         socket_.set_user_timeout(
             std::chrono::ceil<std::chrono::milliseconds>(options.user_timeout)));
  }
}

SysResult<Fd> ListeningSocket::duplicate() const { return sys::duplicate(fd()); }

void ListeningSocket::own_file(const SocketFile& file, std::shared_ptr<std::atomic<bool>> ours) {
  file_ = file;
  file_is_ours_ = std::move(ours);
  process_ = sys::process_generation();
}

void ListeningSocket::leave_file() {
  if (file_is_ours_) file_is_ours_->store(false, std::memory_order_relaxed);
}

void ListeningSocket::refuse_new() {
  ending_.store(true, std::memory_order_relaxed);
  if (!address_.is_ip()) {
    static_cast<void>(sys::shutdown(fd(), SHUT_RD));
    return;
  }
  // A socket filter sees the TCP header (RFC 9293 3.1): its octet 13 holds the flags, SYN is 2.
  // What is accepted inherits the filter and never sees a SYN.
  std::array<sock_filter, 4> program{{
      BPF_STMT(BPF_LD | BPF_B | BPF_ABS, 13),
      BPF_JUMP(BPF_JMP | BPF_JSET | BPF_K, 0x02, 0, 1),
      BPF_STMT(BPF_RET | BPF_K, 0),
      BPF_STMT(BPF_RET | BPF_K, 0xffffffff),
  }};
  const sock_fprog drop_syn{.len = program.size(), .filter = program.data()};
  tune(address_, "SO_ATTACH_FILTER",
       sys::setsockopt(fd(), SOL_SOCKET, SO_ATTACH_FILTER, &drop_syn, sizeof(drop_syn)));
}

int max_backlog() {
  constexpr int kUsual = 4096;
  const auto file = sys::open("/proc/sys/net/core/somaxconn", O_RDONLY);
  if (!file) return kUsual;
  std::array<char, 16> text{};
  const auto size = sys::read(file->get(), std::as_writable_bytes(std::span(text)));
  if (!size) return kUsual;
  int value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + *size, value);
  return error == std::errc() && value > 0 ? value : kUsual;
}

}  // namespace weir
