// OutputQueue: the bytes that a connection still has to send, as segments in order: owned bytes,
// shared slices, and ranges of files. It makes no system calls; the caller does. [one thread]
//
// Segments come from a small cache of the thread, so that the steady state does not allocate.
//
// Invariants, checked by check_invariants() at the end of each call that changes the queue, and for
// all segments by memory():
//   1  size() is the sum of the remaining bytes of all segments; cost() and files() are sums, too.
//   2  No segment is empty.
//   3  Small appends are gathered into one owned segment.
//   4  consume() frees a segment with its last byte, so an empty queue holds no memory.
#pragma once

#include <sys/uio.h>

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>

#include "weir/base/export.h"
#include "weir/base/fd.h"
#include "weir/net/buffer/shared_bytes.h"

namespace WEIR_EXPORT weir {

class OutputQueue {
 public:
  // The remaining range of a file segment.
  struct FileRange {
    int fd = -1;
    std::uint64_t offset = 0;
    std::uint64_t length = 0;
  };

  OutputQueue() = default;
  ~OutputQueue() { clear(); }
  OutputQueue(const OutputQueue&) = delete;
  OutputQueue& operator=(const OutputQueue&) = delete;

  bool empty() const { return size_ == 0; }
  std::uint64_t size() const { return size_; }
  // The number for limits on memory: the bytes that are not in files, and a fixed cost for each
  // segment, so that many tiny segments count, too.
  std::uint64_t cost() const { return cost_; }
  // The number of file segments; each holds a descriptor.
  std::size_t files() const { return files_; }

  void append(std::span<const std::byte> bytes);  // copies
  void append(std::string_view bytes) { append(std::as_bytes(std::span(bytes))); }
  void append(const char* text) { append(std::string_view(text)); }
  void append(std::string&& bytes);  // takes over large strings, copies small ones
  void append(SharedBytes bytes);    // shares large slices, may copy small ones
  // Owns `file` until the last byte of the range is consumed. offset + length above the maximum of
  // off_t is a bug of the caller (CHECK). The real size of the file is not checked.
  void append_file(Fd file, std::uint64_t offset, std::uint64_t length);

  // Fills `iovecs` (writev(2)) with the segments from the front, up to the first file segment.
  // Returns the number filled; 0 when the queue is empty or a file is at the front.
  std::size_t fill(std::span<iovec> iovecs) const;
  // The file range at the front; length 0 when the front is memory or the queue is empty.
  FileRange front_file() const;

  // Discards the first n bytes, which were sent. n > size() is a bug of the caller (CHECK).
  void consume(std::uint64_t n);
  void clear() { consume(size_); }

  // For tests: the heap memory held, without that of SharedBytes. O(segments).
  std::size_t memory() const;

  // Frees the calling thread's cache of segments. The end of a thread does so, too.
  static void release_cache();

 private:
  struct Segment;

  Segment* new_block(std::size_t bytes);
  void write_into(Segment& segment, std::span<const std::byte> bytes);
  void link(Segment* segment);
  void pop_front();
  std::size_t room() const;  // in the open block at the back
  void check_growth(std::uint64_t n) const;
  void check_invariants() const;  // O(1); nothing in release builds

  Segment* front_ = nullptr;  // owned, through the chain to back_
  Segment* back_ = nullptr;
  std::uint64_t size_ = 0;
  std::uint64_t cost_ = 0;
  std::size_t files_ = 0;
};

}  // namespace weir
