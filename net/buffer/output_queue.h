// OutputQueue: what a connection still has to send, in order, as segments: bytes of its own, shared
// slices, and ranges of files. Pure memory: the caller does the system calls. [one thread]
//
// Invariants: 1. size() is the sum of all segments' remaining bytes, kept in O(1); 2. no segment is
// empty; 3. small appends are gathered into one owned segment; 4. consume() frees a segment the
// moment its last byte is gone, so an empty queue holds no memory.
// Segments come from a small cache of the thread's, so that the steady state does not allocate.
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
  // Where the next bytes of a file segment lie.
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
  // What a bound on memory should count: bytes that are not in files, and each segment's own cost,
  // so that very many tiny ones are not taken for nothing.
  std::uint64_t cost() const { return cost_; }
  // File ranges among the segments: descriptors held.
  std::size_t files() const { return files_; }

  void append(std::span<const std::byte> bytes);  // copies
  void append(std::string_view bytes) { append(std::as_bytes(std::span(bytes))); }
  void append(const char* text) { append(std::string_view(text)); }
  void append(std::string&& bytes);  // takes large strings over, copies small ones
  void append(SharedBytes bytes);    // shares
  // Owns `file` until its last byte is consumed. offset + length beyond what off_t holds is a bug
  // of the caller (CHECK); whether the file is that long is not looked at.
  void append_file(Fd file, std::uint64_t offset, std::uint64_t length);

  // The front as iovecs (readv(2)), up to `iovecs.size()` of them and up to a file segment.
  // Returns how many were filled; 0 when empty or when a file is at the front.
  std::size_t fill(std::span<iovec> iovecs) const;
  // The file range at the front; length 0 when the front is memory or the queue is empty.
  FileRange front_file() const;

  // Drops the first n bytes, which were sent. n > size() is a bug of the caller (CHECK).
  void consume(std::uint64_t n);
  void clear() { consume(size_); }

  // Heap memory held, for accounting and tests; without what SharedBytes share. O(segments).
  std::size_t memory() const;

  // Gives the calling thread's cache of segments back to the heap; the end of a thread does so,
  // too.
  static void release_cache();

 private:
  struct Segment;

  Segment* new_block(std::size_t bytes);
  void write_into(Segment& segment, std::span<const std::byte> bytes);
  void link(Segment* segment);
  void pop_front();
  std::size_t room() const;  // in the open block at the back
  void check_growth(std::uint64_t n) const;

  Segment* front_ = nullptr;  // owned, through the chain to back_
  Segment* back_ = nullptr;
  std::uint64_t size_ = 0;
  std::uint64_t cost_ = 0;
  std::size_t files_ = 0;
};

}  // namespace weir
