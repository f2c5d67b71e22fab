// OutputQueue: what a connection still has to send, in order, as segments: bytes of its own, shared
// slices, and ranges of files. Pure memory: the caller does the system calls. [one thread]
//
// Invariants: 1. size() is the sum of all segments' remaining bytes, kept in O(1); 2. no segment is
// empty; 3. small appends are gathered into one owned segment; 4. consume() frees a segment the
// moment its last byte is gone.
#pragma once

#include <sys/uio.h>

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "weir/base/fd.h"
#include "weir/net/buffer/shared_bytes.h"

namespace weir {

class OutputQueue {
 public:
  // Where the next bytes of a file segment lie.
  struct FileRange {
    int fd;
    std::uint64_t offset;
    std::uint64_t length;
  };

  OutputQueue();
  ~OutputQueue();
  OutputQueue(const OutputQueue&) = delete;
  OutputQueue& operator=(const OutputQueue&) = delete;

  bool empty() const { return size_ == 0; }
  std::uint64_t size() const { return size_; }

  void append(std::span<const std::byte> bytes);  // copies
  void append(std::string&& bytes);               // takes large strings over, copies small ones
  void append(SharedBytes bytes);                 // shares
  void append_file(Fd file, std::uint64_t offset, std::uint64_t length);

  // The front as iovecs (readv(2)), up to `iovecs.size()` of them and up to a file segment.
  // Returns how many were filled; 0 when empty or when a file is at the front.
  std::size_t fill(std::span<iovec> iovecs) const;
  // The file range at the front; length 0 when the front is memory or the queue is empty.
  FileRange front_file() const;

  // Drops the first n bytes, which were sent. n > size() is a bug of the caller (CHECK).
  void consume(std::uint64_t n);
  void clear();

  // Heap memory held, for accounting and tests.
  std::size_t memory() const;

 private:
  struct Segment;
  std::vector<Segment> segments_;
  std::size_t front_ = 0;  // index of the first live segment
  std::uint64_t size_ = 0;
};

}  // namespace weir
