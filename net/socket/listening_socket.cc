#include "weir/net/socket/listening_socket.h"

#include <fmt/format.h>
#include <linux/filter.h>
#include <sys/socket.h>

#include <array>
#include <charconv>
#include <new>
#include <optional>
#include <string>
#include <utility>

#include "weir/base/log_line.h"
#include "weir/net/socket/stream_options.h"
#include "weir/net/sys/process.h"
#include "weir/net/sys/sys.h"

namespace weir {
namespace {

namespace sys = internal::sys;
using internal::SocketFile;

// Makes the errors of open(): the address, the step that failed, and the reason.
class Steps {
 public:
  explicit Steps(const SocketAddress& address) : doing("listen on " + address.to_string()) {}

  std::unexpected<Error> failed(std::string_view step, Errno code) const {
    return std::unexpected(Error(fmt::format("{}: {}", doing, step), code));
  }

  const std::string doing;
};

// Sets the options that must be set before bind. A failed option that decides who may connect is an
// error.
std::optional<std::unexpected<Error>> prepare_ip(Socket& socket, const SocketAddress& address,
                                                 const ListenOptions& options, const Steps& steps) {
  internal::warn_if_refused(steps.doing, "SO_REUSEADDR", socket.set_reuse_addr(options.reuse_addr));
  if (options.reuse_port) {
    if (auto done = socket.set_reuse_port(true); !done) {
      return steps.failed("SO_REUSEPORT", done.error());
    }
  }
  if (address.family() == SocketAddress::Family::ipv6) {
    // Set in any case, because the default is a system setting (net.ipv6.bindv6only).
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

  // From here on the destructor of `result` undoes the steps.
  ListeningSocket result;
  result.socket_ = std::move(*socket);
  result.address_ = address;
  if (address.is_ip()) {
    if (auto refused = prepare_ip(result.socket_, address, options, steps)) return *refused;
    if (auto done = result.socket_.bind(address); !done) return steps.failed("bind", done.error());
    result.prepare_accepted(options);
  } else if (address.family() == SocketAddress::Family::unix_path) {
    auto file = SocketFile::bind(result.socket_, address, options.unix_mode & 0777,
                                 SocketFile::Use::listener, steps.doing);
    if (!file) return std::unexpected(std::move(file.error()));
    result.file_ = std::move(*file);
  } else if (auto done = result.socket_.bind(address); !done) {
    return steps.failed("bind", done.error());
  }

  if (const int most = max_backlog(); options.backlog > most) {
    WEIR_LOG(warn, "listen on {}: the kernel limits the backlog of {} to {} (net.core.somaxconn)",
             address.to_string(), options.backlog, most);
  }
  if (auto done = result.socket_.listen(options.backlog); !done) {
    return steps.failed("listen", done.error());
  }
  if (result.file().inode != 0 && !SocketFile::stands(address, result.file())) {
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
  if (*type != SOCK_STREAM) return refused("it is not a stream socket", Errno(ESOCKTNOSUPPORT));
  const auto listens = option(SO_ACCEPTCONN);
  if (!listens) return refused("SO_ACCEPTCONN", listens.error());
  if (*listens == 0) return refused("it does not listen", Errno(EINVAL));
  const SocketAddress address = internal::local_address_of(fd.get());
  if (address.family() == SocketAddress::Family::unspecified) {
    return refused("its address family is not supported", Errno(EAFNOSUPPORT));
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
      file_(std::move(other.file_)),
      lent_(other.lent_),
      ending_(other.ending_.load(std::memory_order_relaxed)) {}

ListeningSocket& ListeningSocket::operator=(ListeningSocket&& other) noexcept {
  if (this != &other) {
    close();
    socket_ = std::move(other.socket_);
    address_ = std::exchange(other.address_, SocketAddress());
    file_ = std::move(other.file_);
    lent_ = other.lent_;
    ending_ = other.ending_.load(std::memory_order_relaxed);
  }
  return *this;
}

ListeningSocket::~ListeningSocket() { close(); }

void ListeningSocket::close() {
  file_.remove();
  socket_.close();
}

void ListeningSocket::prepare_accepted(const ListenOptions& options) {
  if (!address_.is_ip()) return;
  const auto stream = internal::stream_options_of(options);
  const Steps steps(address_);
  internal::set_buffers(socket_, stream, steps.doing);
  internal::set_behaviour(socket_, stream, steps.doing);
}

SysResult<Fd> ListeningSocket::duplicate() const { return sys::duplicate(fd()); }

void ListeningSocket::own_file(const FileId& file, std::shared_ptr<std::atomic<bool>> ours) {
  auto owned = SocketFile::own(address_, file, std::move(ours));
  if (owned) {
    file_ = std::move(*owned);
  } else {
    WEIR_LOG(warn, "{}: cannot open the folder: {}; the socket file will not be removed",
             address_.to_string(), owned.error().message());
  }
}

void ListeningSocket::leave_file() { file_.leave(); }

void ListeningSocket::refuse_new() {
  ending_.store(true, std::memory_order_relaxed);
  if (!address_.is_ip()) {
    static_cast<void>(sys::shutdown(fd(), SHUT_RD));
    return;
  }
  // A socket filter sees the TCP header (RFC 9293 3.1): its octet 13 holds the flags, SYN is 2.
  // Accepted connections inherit the filter, which does no harm: they get no SYN.
  std::array<sock_filter, 4> program{{
      BPF_STMT(BPF_LD | BPF_B | BPF_ABS, 13),
      BPF_JUMP(BPF_JMP | BPF_JSET | BPF_K, 0x02, 0, 1),
      BPF_STMT(BPF_RET | BPF_K, 0),
      BPF_STMT(BPF_RET | BPF_K, 0xffffffff),
  }};
  const sock_fprog drop_syn{.len = program.size(), .filter = program.data()};
  internal::warn_if_refused(Steps(address_).doing, "SO_ATTACH_FILTER",
                            sys::set_option(fd(), SOL_SOCKET, SO_ATTACH_FILTER, drop_syn));
}

namespace {

std::optional<int> read_max_backlog() {
  const auto text = sys::read_file("/proc/sys/net/core/somaxconn");
  if (!text) return std::nullopt;
  int value = 0;
  const auto [end, error] = std::from_chars(text->data(), text->data() + text->size(), value);
  if (error != std::errc() || value <= 0) return std::nullopt;
  return value;
}

}  // namespace

int max_backlog() {
  constexpr int kUsual = 4096;
  try {
    return read_max_backlog().value_or(kUsual);
  } catch (const std::bad_alloc&) {  // the end of a server calls this, and has to go on
    return kUsual;
  }
}

}  // namespace weir
