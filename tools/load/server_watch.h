// ServerWatch: memory and CPU time of a process of this machine, from /proc and its CPU clock.
// [one thread]
#pragma once

#include <sys/types.h>
#include <time.h>

#include <cstddef>

#include "weir/base/clock.h"
#include "weir/base/result.h"

namespace weir::load {

// Resident memory is in bytes, without the memory of the kernel for sockets.
struct ServerUsage {
  pid_t pid = 0;
  // /proc shows the process. If not (hidepid, a container), only `elapsed` and `cpu` are known.
  bool shown = true;
  Duration elapsed{0};  // from begin() to end(), as for the next three
  Duration cpu{0};      // of all threads, including those that have ended
  Duration user{0};     // in clock ticks, usually of 10 ms
  Duration system{0};
  std::size_t rss_before = 0;  // before the first connection
  std::size_t rss_begin = 0;   // at begin()
  std::size_t rss_end = 0;
  std::size_t rss_peak = 0;  // largest sample
  bool gone = false;         // it ended during the run
};

class ServerWatch {
 public:
  // Measures rss_before. Error: there is no such process.
  static Result<ServerWatch> open(pid_t pid);

  void begin();
  void sample();
  // Only the first call counts.
  void end();
  const ServerUsage& usage() const { return usage_; }

 private:
  struct Times {
    TimePoint when;
    Duration cpu{0};
    Duration user{0};
    Duration system{0};
  };
  explicit ServerWatch(pid_t pid, clockid_t clock);
  bool runs() const;
  Times times();
  std::size_t resident();

  ServerUsage usage_;
  clockid_t clock_;
  Times begin_;
  bool begun_ = false;
  bool ended_ = false;
};

}  // namespace weir::load
