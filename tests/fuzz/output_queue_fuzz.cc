// A script of operations on an OutputQueue beside a list of the bytes and files that it must have.
#include <algorithm>
#include <array>
#include <cerrno>
#include <deque>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "fuzz/target.h"
#include "weir/base/check_format.h"
#include "weir/net/buffer/output_queue.h"
#include "weir/net/sys/sys.h"

namespace weir::fuzz {
namespace {

// Descriptors that no kernel knows, each closed once.
class MadeUpFiles final : public internal::SysTable {
 public:
  Fd make_file() {
    open_.insert(++last_);
    return Fd(last_);
  }
  int close(int fd) override {
    WEIR_CHECK(open_.erase(fd) == 1, "descriptor {} is closed, but it is not open", fd);
    return 0;
  }
  std::size_t count() const { return open_.size(); }

 private:
  int last_ = 1'000'000;
  std::set<int> open_;
};

class QueueScript {
 public:
  explicit QueueScript(Bytes input) : script_(input) {}

  void run() {
    while (!script_.ended()) {
      step();
      check();
    }
    queue_.clear();
    model_.clear();
    size_ = 0;
    check();
  }

 private:
  struct Part {
    std::string bytes;         // of memory
    int fd = -1;               // of a file
    std::uint64_t offset = 0;  // in the file
    std::uint64_t length = 0;  // remaining
  };

  // At the limits between the ways in which the queue stores bytes, and anything else.
  std::size_t size() {
    constexpr std::array<std::size_t, 8> kLimits = {64, 128, 448, 512, 4032, 4096, 16320, 65472};
    const std::size_t choice = script_.byte();
    if (choice < kLimits.size()) return kLimits[choice] - 1 + script_.byte() % 3;
    return choice < 16 ? script_.up_to(20'000) : script_.up_to(150);
  }
  std::string text() {
    const std::size_t n = size_ > kMost ? 1 : size();
    written_ += n;
    return pattern(written_ - n, n);
  }
  void expect(std::string_view bytes) {
    if (bytes.empty()) return;
    if (model_.empty() || model_.back().fd >= 0) model_.push_back({});
    model_.back().bytes += bytes;
    model_.back().length += bytes.size();
    size_ += bytes.size();
  }

  void step() {
    switch (script_.byte() % 9) {
      case 0:
      case 1: {
        const std::string bytes = text();
        queue_.append(bytes);
        return expect(bytes);
      }
      case 2: {
        std::string bytes = text();
        if (script_.flag()) bytes.reserve(script_.up_to(20'000));
        expect(bytes);
        return queue_.append(std::move(bytes));
      }
      case 3:
        shared_ = SharedBytes::copy(text());
        break;
      case 4:
      case 5: {
        const std::size_t offset = script_.up_to(shared_.size());
        const SharedBytes part = shared_.slice(offset, script_.up_to(shared_.size()));
        if (size_ > kMost) return;
        expect(part.view());
        return queue_.append(part);
      }
      case 6:
        return append_file();
      case 7:
        return consume(script_.up_to(static_cast<std::size_t>(std::min(size_, kMost))));
      default:
        if (!model_.empty()) consume(model_.front().length);
    }
  }

  void append_file() {
    Fd file = files_.make_file();
    const int fd = file.get();
    const std::uint64_t offset = script_.up_to(5000);
    const std::uint64_t length = script_.up_to(5000);
    queue_.append_file(std::move(file), offset, length);
    if (length == 0) return;
    model_.push_back({.bytes = {}, .fd = fd, .offset = offset, .length = length});
    size_ += length;
  }

  void consume(std::uint64_t n) {
    queue_.consume(n);
    size_ -= n;
    while (n > 0) {
      Part& front = model_.front();
      const std::uint64_t here = std::min(n, front.length);
      if (front.fd < 0) front.bytes.erase(0, here);
      front.offset += here;
      front.length -= here;
      n -= here;
      if (front.length == 0) model_.pop_front();
    }
  }

  void check() {
    WEIR_CHECK(queue_.size() == size_ && queue_.empty() == (size_ == 0), "size {}, it is {}",
               queue_.size(), size_);
    std::uint64_t in_memory = 0;
    std::size_t files = 0;
    for (const Part& part : model_) {
      in_memory += part.bytes.size();
      files += part.fd >= 0 ? 1 : 0;
    }
    WEIR_CHECK(queue_.files() == files && files_.count() == files, "{} files, {} open, of {}",
               queue_.files(), files_.count(), files);
    WEIR_CHECK(queue_.cost() >= in_memory, "cost {} of {} bytes", queue_.cost(), in_memory);
    // cost() is for limits on memory, so it has to follow what is really held: a block of 512 bytes
    // costs at least 65. Not in it: what was sent of the first segment, and the free end of the
    // last.
    WEIR_CHECK(queue_.memory() <= 8 * queue_.cost() + 2 * kLargestSegment,
               "{} bytes held at a cost of {}", queue_.memory(), queue_.cost());
    check_front();
  }

  void check_front() {
    const OutputQueue::FileRange file = queue_.front_file();
    std::array<iovec, 5> vectors{};
    const std::size_t filled = queue_.fill(std::span(vectors).first(1 + script_.byte() % 5));
    if (model_.empty() || model_.front().fd >= 0) {
      const Part front = model_.empty() ? Part{} : model_.front();
      WEIR_CHECK(filled == 0, "{} vectors before a file", filled);
      WEIR_CHECK(file.length == front.length && file.fd == front.fd, "another file");
      WEIR_CHECK(file.offset == front.offset, "offset {}, it is {}", file.offset, front.offset);
      return;
    }
    WEIR_CHECK(file.length == 0 && filled > 0, "memory at the front is not filled in");
    std::string_view expected = model_.front().bytes;
    for (const iovec& vector : std::span(vectors).first(filled)) {
      const std::string_view got(static_cast<const char*>(vector.iov_base), vector.iov_len);
      WEIR_CHECK(!got.empty() && expected.starts_with(got), "{} bytes differ", got.size());
      expected.remove_prefix(got.size());
    }
  }

  static constexpr std::uint64_t kMost = 65'000;
  static constexpr std::size_t kLargestSegment = 64 * 1024 + 64;

  Script script_;
  MadeUpFiles files_;
  const internal::sys::ScopedTable use_{&files_};
  OutputQueue queue_;
  SharedBytes shared_;
  std::deque<Part> model_;
  std::uint64_t size_ = 0;
  std::uint64_t written_ = 0;
};

void fuzz_output_queue(Bytes input) { QueueScript(input).run(); }

const Target kTarget("output_queue", fuzz_output_queue);

}  // namespace
}  // namespace weir::fuzz
