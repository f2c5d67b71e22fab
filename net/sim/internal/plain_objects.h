// Simulated descriptors that are no sockets: eventfd(2), pipes, files in memory.
#pragma once

#include <algorithm>
#include <cstring>
#include <limits>
#include <string>
#include <utility>

#include "weir/net/sim/internal/byte_queue.h"
#include "weir/net/sim/internal/object.h"

namespace weir::internal::sim {

class EventCounter final : public Object {
 public:
  explicit EventCounter(std::uint64_t initial) : count_(initial) {}

  std::uint32_t poll() override {
    return (count_ > 0 ? EPOLLIN : 0U) | (count_ < kMost ? EPOLLOUT : 0U);
  }
  ssize_t read(void* into, std::size_t size) override {
    if (size < sizeof(count_)) return -EINVAL;
    if (count_ == 0) return -EAGAIN;
    std::memcpy(into, &count_, sizeof(count_));
    count_ = 0;
    wake(EPOLLOUT);
    return sizeof(count_);
  }
  ssize_t write(const void* from, std::size_t size) override {
    std::uint64_t more = 0;
    if (size < sizeof(more)) return -EINVAL;
    std::memcpy(&more, from, sizeof(more));
    if (more > kMost - count_) return -EAGAIN;
    count_ += more;
    wake(EPOLLIN);
    return sizeof(more);
  }

 private:
  static constexpr std::uint64_t kMost = std::numeric_limits<std::uint64_t>::max() - 1;
  std::uint64_t count_;
};

// The bytes of a pipe. Both ends share it; splice(2) moves them.
struct PipeBytes {
  static constexpr std::size_t kDefaultSize = 64 * 1024;  // pipe(7)
  ByteQueue bytes;
  std::size_t size = kDefaultSize;
};

// An end of a pipe. weir only splices, so no end is watched.
class PipeEnd final : public Object {
 public:
  explicit PipeEnd(std::shared_ptr<PipeBytes> pipe) : pipe_(std::move(pipe)) {}

  PipeBytes& pipe() { return *pipe_; }
  std::uint32_t poll() override { return 0; }
  bool can_be_watched() const override { return false; }

 private:
  const std::shared_ptr<PipeBytes> pipe_;
};

// A file that is only read; with no contents also /dev/null.
class MemoryFile final : public Object {
 public:
  explicit MemoryFile(std::string contents) : contents_(std::move(contents)) {}

  std::uint32_t poll() override { return EPOLLIN | EPOLLOUT; }
  bool can_be_watched() const override { return false; }
  std::string_view from(std::size_t offset) const {
    return std::string_view(contents_).substr(std::min(offset, contents_.size()));
  }
  std::size_t size() const { return contents_.size(); }

 private:
  const std::string contents_;
};

}  // namespace weir::internal::sim
