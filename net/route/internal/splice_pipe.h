// SplicePipe: a pipe(7) that moves bytes from one socket to another without copying them to user
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
  // The requested capacity: as much as a socket buffer provides or takes at once. The kernel gives
  // less, down to a page, to a user who has too many pipes.
  static constexpr std::size_t kSize = 256 * 1024;

  // Errors: EMFILE, ENFILE, ENOMEM.
  static SysResult<std::unique_ptr<SplicePipe>> open();

  // Moves received bytes into the pipe, up to `limit` held bytes. EAGAIN while bytes are held: the
  // socket is empty, or the pipe is full. Many small pieces fill a pipe long before capacity(). 0:
  // the peer's end of file.
  SysResult<std::size_t> fill(int socket, std::size_t limit);
  // Moves held bytes to the socket, as many as it takes.
  SysResult<std::size_t> drain(int socket);

  std::size_t held() const { return held_; }
  std::size_t capacity() const { return capacity_; }

 private:
  SplicePipe(sys::Pipe ends, std::size_t capacity) : ends_(std::move(ends)), capacity_(capacity) {}

  sys::Pipe ends_;
  const std::size_t capacity_;
  std::size_t held_ = 0;
};

// The spare empty pipes of a loop: loop.local<SplicePipes>(). A relay has a pipe only while that
// holds bytes, so that few pipes serve many relays.
class SplicePipes {
 public:
  SysResult<std::unique_ptr<SplicePipe>> take() {
    if (spare_.empty()) return SplicePipe::open();
    auto pipe = std::move(spare_.back());
    spare_.pop_back();
    return pipe;
  }
  void give_back(std::unique_ptr<SplicePipe> pipe) {
    if (spare_.size() < kMaxSpare) spare_.push_back(std::move(pipe));
  }

 private:
  // Each has two descriptors. One pipe is enough for all relays whose sinks take everything at
  // once.
  static constexpr std::size_t kMaxSpare = 8;
  std::vector<std::unique_ptr<SplicePipe>> spare_;
};

}  // namespace weir::internal
