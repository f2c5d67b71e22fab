// The errors are those of the man page of each call, of the kernel's sources, and of the list at
// the end of the failure catalogue. Errors that only a wrong argument causes (EFAULT, ENOTSOCK) are
// left out: weir passes no such argument, and one of its own bugs is not a fault from outside.
#include "faults.h"

#include <fcntl.h>
#include <sys/epoll.h>
#include <sys/socket.h>

#include <cerrno>
#include <ctime>
#include <initializer_list>
#include <utility>

#include "weir/base/result.h"

namespace weir::test::matrix {
namespace {

using Absorbed = Fault::Absorbed;
using Kind = Fault::Kind;
using Faults = std::vector<Fault>;

// A persistent EAGAIN of a descriptor that epoll reports as ready: no kernel does that for long.
constexpr std::uint64_t kFewCalls = 3;

Faults operator+(Faults a, const Faults& b) {
  a.insert(a.end(), b.begin(), b.end());
  return a;
}

Faults errors(std::initializer_list<int> codes, Absorbed absorbed = Absorbed::never) {
  Faults faults;
  for (const int code : codes) {
    faults.push_back({.kind = Kind::error, .value = code, .absorbed = absorbed});
  }
  return faults;
}
Faults late_errors(std::initializer_list<int> codes, Absorbed absorbed = Absorbed::never) {
  Faults faults = errors(codes, absorbed);
  for (Fault& fault : faults) fault.kind = Kind::late_error;
  return faults;
}
// A signal arrived, or the descriptor was not ready after all.
Faults interrupted() { return errors({EINTR}, Absorbed::always); }
Faults not_ready() {
  return {{.kind = Kind::error, .value = EAGAIN, .absorbed = Absorbed::always, .most = kFewCalls}};
}
Faults short_counts() {
  return {{.kind = Kind::limit, .value = 1, .absorbed = Absorbed::always},
          {.kind = Kind::leave, .value = 1, .absorbed = Absorbed::always}};
}
Faults no_memory() { return errors({ENOBUFS, ENOMEM}, Absorbed::once); }
Faults result(int value, Absorbed absorbed = Absorbed::never) {
  return {{.kind = Kind::result, .value = value, .absorbed = absorbed, .most = kFewCalls}};
}
// The peer seems to have closed its side.
Faults end_of_stream() {
  Faults faults = result(0);
  faults.front().looks_like_end = true;
  return faults;
}
Faults options(std::initializer_list<int> values) {
  Faults faults;
  for (const int value : values) faults.push_back({.kind = Kind::option, .value = value});
  return faults;
}
Faults ending_listener(Faults faults) {
  for (Fault& fault : faults) fault.ends_listener = true;
  return faults;
}

void add_sockets(std::vector<Site>& all) {
  all.push_back({"socket",
                 Call::socket,
                 {},
                 errors({EMFILE, ENFILE, ENOBUFS, ENOMEM, EAFNOSUPPORT, EPROTONOSUPPORT, EACCES})});
  all.push_back({"bind",
                 Call::bind,
                 {},
                 errors({EADDRINUSE, EADDRNOTAVAIL, EACCES, EINVAL, ENOENT, ENAMETOOLONG, EROFS,
                         ENOTDIR, ENOMEM}) +
                     interrupted()});
  all.push_back({"listen", Call::listen, {}, errors({EADDRINUSE, EINVAL, EOPNOTSUPP})});
  all.push_back({"accept4",
                 Call::accept4,
                 {},
                 not_ready() + interrupted() +
                     late_errors({ECONNABORTED, EPROTO, ENETDOWN, ENOPROTOOPT, EHOSTDOWN, ENONET,
                                  EHOSTUNREACH, EOPNOTSUPP, ENETUNREACH, ETIMEDOUT}) +
                     errors({EMFILE, ENFILE}) + errors({ENOBUFS, ENOMEM, EPERM}, Absorbed::once) +
                     ending_listener(errors({ENOSYS, EINVAL, EBADF}))});
  all.push_back({"connect",
                 Call::connect,
                 {},
                 late_errors({EINPROGRESS, EINTR}, Absorbed::once) +
                     errors({EALREADY, EISCONN, EAGAIN, EADDRINUSE, EADDRNOTAVAIL, ECONNREFUSED,
                             ECONNRESET, ENETUNREACH, EHOSTUNREACH, ETIMEDOUT, EACCES, EPERM,
                             EAFNOSUPPORT, EINVAL, ENOENT, EPROTOTYPE, ENOBUFS}),
                 {EINPROGRESS}});  // after EINTR
  all.push_back({"shutdown", Call::shutdown, {}, errors({ENOTCONN, ENOBUFS})});
  all.push_back({"close", Call::close, {}, errors({EINTR, EIO, ENOSPC, EDQUOT}, Absorbed::always)});
  all.push_back(
      {"getsockopt.SO_ERROR", Call::getsockopt, SO_ERROR,
       options({ECONNREFUSED, ETIMEDOUT, EHOSTUNREACH, ECONNRESET}) + errors({ENOBUFS, EPERM})});
  all.push_back({"getsockopt", Call::getsockopt, {}, errors({ENOPROTOOPT, ENOBUFS, EPERM})});
  all.push_back(
      {"setsockopt", Call::setsockopt, {}, errors({ENOPROTOOPT, EINVAL, ENOBUFS, ENOMEM, EPERM})});
  all.push_back({"getsockname", Call::getsockname, {}, errors({ENOBUFS, EINVAL}), {EAFNOSUPPORT}});
  // A client takes a socket that has no peer for one that is not connected yet.
  all.push_back({"getpeername", Call::getpeername, {}, errors({ENOTCONN, ENOBUFS}), {ENOTCONN}});
}

void add_transfers(std::vector<Site>& all) {
  const Faults receiving = not_ready() + interrupted() + no_memory() + short_counts() +
                           end_of_stream() +
                           errors({ECONNRESET, ETIMEDOUT, EHOSTUNREACH, ENETDOWN, EPIPE, EIO});
  const Faults sending =
      not_ready() + interrupted() + no_memory() + short_counts() +
      errors({EPIPE, ECONNRESET, EMSGSIZE, EHOSTUNREACH, ENETDOWN, EACCES, EPERM, ETIMEDOUT});
  all.push_back({"recv", Call::recv, {}, receiving});
  all.push_back({"recvmsg", Call::recvmsg, {}, receiving});
  all.push_back({"send", Call::send, {}, sending});
  all.push_back({"sendmsg", Call::sendmsg, {}, sending});
  all.push_back({"recvmmsg",
                 Call::recvmmsg,
                 {},
                 not_ready() + interrupted() + no_memory() +
                     Faults{{.kind = Kind::limit, .value = 1, .absorbed = Absorbed::always}} +
                     errors({ECONNREFUSED, EMSGSIZE, EHOSTUNREACH, ENETUNREACH, ENETDOWN, EIO})});
  all.push_back({"sendmmsg",
                 Call::sendmmsg,
                 {},
                 not_ready() + interrupted() + no_memory() +
                     Faults{{.kind = Kind::limit, .value = 1, .absorbed = Absorbed::always}} +
                     errors({ECONNREFUSED, EMSGSIZE, EPERM, EACCES, EHOSTUNREACH, ENETUNREACH,
                             ENETDOWN, EINVAL, EIO, EADDRNOTAVAIL})});
  all.push_back({"sendfile",
                 Call::sendfile,
                 {},
                 not_ready() + interrupted() + errors({ENOMEM}, Absorbed::once) + short_counts() +
                     result(0) +
                     // A file whose file system refuses it is read and sent.
                     errors({EINVAL, ENOSYS}, Absorbed::always) +
                     errors({EIO, EPIPE, ECONNRESET, EOVERFLOW, ETIMEDOUT}),
                 {EIO}});  // the file is too short
  all.push_back({"splice",
                 Call::splice,
                 {},
                 not_ready() + interrupted() + errors({ENOMEM}, Absorbed::once) + short_counts() +
                     errors({EIO, EINVAL, EPIPE, ECONNRESET, ENOSYS, EPERM, ETIMEDOUT})});
  all.push_back({"ioctl", Call::ioctl, {}, errors({EINVAL, ENOTTY}, Absorbed::always)});
  all.push_back({"pread",
                 Call::pread,
                 {},
                 interrupted() + short_counts() + result(0) + errors({EIO, EISDIR, ENXIO}),
                 {EIO}});
}

void add_descriptors(std::vector<Site>& all) {
  all.push_back({"pipe2", Call::pipe2, {}, errors({EMFILE, ENFILE}, Absorbed::always)});
  all.push_back({"socketpair", Call::socketpair, {}, errors({EMFILE, ENFILE, EOPNOTSUPP})});
  all.push_back({"fcntl.F_DUPFD_CLOEXEC", Call::fcntl, F_DUPFD_CLOEXEC, errors({EMFILE})});
  all.push_back({"fcntl.F_SETPIPE_SZ", Call::fcntl, F_SETPIPE_SZ,
                 errors({EPERM, EBUSY, ENOMEM}, Absorbed::always)});
  all.push_back({"fcntl.F_GETPIPE_SZ", Call::fcntl, F_GETPIPE_SZ, errors({EPERM})});
  all.push_back({"fcntl.F_GETFD", Call::fcntl, F_GETFD, errors({EPERM})});
  all.push_back({"fcntl.F_SETFD", Call::fcntl, F_SETFD, errors({EPERM})});
  all.push_back({"fcntl.F_GETFL", Call::fcntl, F_GETFL, errors({EPERM})});
  all.push_back({"fcntl.F_SETFL", Call::fcntl, F_SETFL, errors({EPERM})});
  all.push_back({"read", Call::read, {}, not_ready() + interrupted()});
  // Of an eventfd: EAGAIN says that it was signalled already.
  all.push_back(
      {"write", Call::write, {}, late_errors({EAGAIN}, Absorbed::always) + interrupted()});
  const Faults making = errors({EMFILE, ENFILE, ENOMEM, ENODEV});
  all.push_back({"eventfd", Call::eventfd, {}, making});
  all.push_back({"signalfd", Call::signalfd, {}, making});
  all.push_back(
      {"open", Call::open, {}, errors({EMFILE, ENFILE, ENOENT, EACCES, ENOMEM}) + interrupted()});
  all.push_back({"openat",
                 Call::openat,
                 {},
                 errors({EMFILE, ENFILE, ENOENT, EACCES, ENOMEM, ENOTDIR}) + interrupted()});
  const Faults looking = errors({ENOENT, EACCES, ENOMEM, ELOOP, ENOTDIR});
  all.push_back({"stat", Call::stat, {}, looking});
  all.push_back({"fstat", Call::fstat, {}, errors({ENOMEM, EOVERFLOW})});
  all.push_back({"fstatat", Call::fstatat, {}, looking});
  all.push_back({"unlinkat", Call::unlinkat, {}, errors({EACCES, ENOENT, EPERM, EROFS, EBUSY})});
  all.push_back({"chmod", Call::chmod, {}, errors({EACCES, ENOENT, EPERM, EROFS})});
  all.push_back({"fchmod", Call::fchmod, {}, errors({EACCES, EPERM, EROFS})});
}

void add_loop(std::vector<Site>& all) {
  all.push_back({"epoll_create1", Call::epoll_create1, {}, errors({EMFILE, ENFILE, ENOMEM})});
  all.push_back({"epoll_ctl.ADD", Call::epoll_ctl, EPOLL_CTL_ADD,
                 errors({EEXIST, ENOMEM, ENOSPC, EPERM, EBADF, ELOOP})});
  all.push_back(
      {"epoll_ctl.MOD", Call::epoll_ctl, EPOLL_CTL_MOD, late_errors({ENOENT}) + errors({ENOMEM})});
  all.push_back({"epoll_ctl.DEL", Call::epoll_ctl, EPOLL_CTL_DEL,
                 late_errors({ENOENT, EBADF}, Absorbed::always)});
  constexpr int kYear = 365 * 24;
  const Faults waiting = interrupted() + result(0, Absorbed::always) +
                         Faults{{.kind = Kind::wall_clock,
                                 .value = kYear,
                                 .absorbed = Absorbed::always,
                                 .most = kFewCalls},
                                {.kind = Kind::wall_clock,
                                 .value = -kYear,
                                 .absorbed = Absorbed::always,
                                 .most = kFewCalls}};
  all.push_back({"epoll_wait", Call::epoll_wait, {}, waiting});
  all.push_back({"epoll_pwait2",
                 Call::epoll_pwait2,
                 {},
                 waiting + errors({ENOSYS, EPERM}, Absorbed::always)});
}

void add_process(std::vector<Site>& all) {
  all.push_back({"sigaction", Call::sigaction, {}, errors({EPERM})});
  all.push_back({"getrlimit", Call::getrlimit, {}, errors({EPERM}, Absorbed::always)});
  all.push_back({"getrusage", Call::getrusage, {}, errors({EPERM}, Absorbed::always)});
  all.push_back({"sysconf", Call::sysconf, {}, errors({EINVAL}, Absorbed::always)});
  all.push_back(
      {"getrandom", Call::getrandom, {}, errors({EAGAIN, EINTR, ENOSYS}, Absorbed::always)});
  all.push_back({"if_nametoindex", Call::if_nametoindex, {}, errors({ENODEV, EMFILE})});
  all.push_back({"if_indextoname", Call::if_indextoname, {}, errors({ENXIO, EMFILE})});
  all.push_back({"pthread_create", Call::pthread_create, {}, errors({EAGAIN, EPERM})});
}

}  // namespace

std::string Fault::name() const {
  const auto code = [this] { return Errno(value).name(); };
  switch (kind) {
    case Kind::error:
      return code();
    case Kind::late_error:
      return "done_" + code();
    case Kind::limit:
      return std::to_string(value) + "_at_most";
    case Kind::leave:
      return "all_but_" + std::to_string(value);
    case Kind::result:
      return "returns_" + std::to_string(value);
    case Kind::option:
      return "gives_" + code();
    case Kind::wall_clock:
      return value > 0 ? "a_year_later" : "a_year_earlier";
    case Kind::no_memory:
      return "bad_alloc";
  }
  return {};
}

std::span<const Site> sites() {
  static const std::vector<Site> all = [] {
    std::vector<Site> made;
    add_sockets(made);
    add_transfers(made);
    add_descriptors(made);
    add_loop(made);
    add_process(made);
    return made;
  }();
  return all;
}

const Site& allocation_site() {
  // A shortage that lasts: more allocations than any one operation of weir makes.
  static const Site site{"new", Call::socket, {}, {{.kind = Kind::no_memory, .most = 40}}};
  return site;
}

}  // namespace weir::test::matrix
