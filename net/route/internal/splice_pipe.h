// SplicePipe: a pipe(7) through which bytes pass from one socket to another without entering user
// space. Internal. [loop]
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <utility>
#include <vector>

#include "weir/base/result.h"
#include "weir/net/sys/sys.h"

namespace weir::internal {

class SplicePipe {
 public:
  // What is asked of the kernel: as much as a socket buffer gives or takes at once. A user who has
  // too many pipes already gets less, down to a page.
  static constexpr std::size_t kSize = 256 * 1024;

  // EMFILE, ENFILE, ENOMEM: there is none to be had.
  static SysResult<std::unique_ptr<SplicePipe>> open();

  // Moves what has come, as far as there is room below `most` held bytes. EAGAIN with bytes held:
  // the socket is empty, or the pipe is full, which many small pieces bring about long before
  // capacity(). 0: the peer's end of file.
  SysResult<std::size_t> fill(int socket, std::size_t most);
  // Moves what is held, as far as the socket takes it.
  SysResult<std::size_t> drain(int socket);

  std::size_t held() const { return held_; }
  std::size_t capacity() const { return capacity_; }

 private:
  SplicePipe(sys::Pipe ends, std::size_t capacity) : ends_(std::move(ends)), capacity_(capacity) {}

  sys::Pipe ends_;
  const std::size_t capacity_;
  std::size_t held_ = 0;
};

// The empty pipes of a loop: loop.local<SplicePipes>(). A relay has a pipe only while it holds
// bytes, so that few serve many.
class SplicePipes {
 public:
  SysResult<std::unique_ptr<SplicePipe>> take() {
    if (spare_.empty()) return SplicePipe::open();
    auto pipe = std::move(spare_.back());
    spare_.pop_back();
    return pipe;
  }
  void give_back(std::unique_ptr<SplicePipe> pipe) {
    if (spare_.size() < kMostSpare) spare_.push_back(std::move(pipe));
  }

 private:
  // Two descriptors each: one pipe serves all relays whose sink takes what comes.
  static constexpr std::size_t kMostSpare = 8;
  std::vector<std::unique_ptr<SplicePipe>> spare_;
};

}  // namespace weir::internal
