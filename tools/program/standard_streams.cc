#include "program/standard_streams.h"

#include <fcntl.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>

#include "weir/base/result.h"

namespace weir::program {

void keep_standard_descriptors() {
  for (const int fd : {STDIN_FILENO, STDOUT_FILENO, STDERR_FILENO}) {
    if (::fcntl(fd, F_GETFD) >= 0 || errno != EBADF) continue;
    // open(2) returns the lowest free number, and all lower ones are in use.
    static_cast<void>(::open("/dev/null", fd == STDERR_FILENO ? O_WRONLY : O_RDONLY));
  }
}

int finish_output(int status) {
  const bool failed_before = std::ferror(stdout) != 0;
  const bool flushed = std::fflush(stdout) == 0;
  if (flushed && !failed_before) return status;
  const Error lost = flushed ? Error("standard output: some of it could not be written")
                             : Error("standard output", Errno::last());
  const int lost_status = fail(lost);
  return status == 0 ? lost_status : status;
}

}  // namespace weir::program
