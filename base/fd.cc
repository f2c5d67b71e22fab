#include "weir/base/fd.h"

#include <sys/resource.h>
#include <unistd.h>

#include <cerrno>

#include "weir/base/check_format.h"

namespace weir {
namespace {

constinit thread_local internal::CloseFunction close_function = ::close;

}  // namespace

void Fd::reset(int fd) {
  WEIR_CHECK(fd < 0 || fd != fd_, "Fd::reset({}): the Fd already holds this descriptor", fd);
  const int old = std::exchange(fd_, fd);
  if (old < 0) return;
  // A destructor can run between a failed call and the caller's read of errno, so errno is kept.
  // Linux frees the number before it reports an error, so a second close() could close a descriptor
  // that another thread has just opened (close(2)).
  const int saved_errno = errno;
  close_function(old);
  errno = saved_errno;
}

std::size_t raise_descriptor_limit() {
  rlimit files{};
  if (getrlimit(RLIMIT_NOFILE, &files) != 0) return 1024;
  files.rlim_cur = files.rlim_max;
  setrlimit(RLIMIT_NOFILE, &files);
  return files.rlim_cur;
}

namespace internal {

CloseFunction exchange_close_function(CloseFunction function) {
  return std::exchange(close_function, function != nullptr ? function : ::close);
}

}  // namespace internal
}  // namespace weir
