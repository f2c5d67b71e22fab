// A script of operations on a Buffer, owned and lent, beside a std::string. Its memory is at most 4
// times its bytes, and the bytes that it moves are linear in those that are added.
#include <algorithm>
#include <array>
#include <cstring>
#include <string>
#include <utility>

#include "fuzz/target.h"
#include "weir/base/byte_order.h"
#include "weir/base/check_format.h"
#include "weir/net/buffer/buffer.h"

namespace weir::fuzz {
namespace {

class BufferScript {
 public:
  explicit BufferScript(Bytes input) : script_(input) {}
  ~BufferScript() {
    buffer_ = Buffer();  // before its loan ends
    internal::unpoison(block_);
  }
  BufferScript(const BufferScript&) = delete;
  BufferScript& operator=(const BufferScript&) = delete;

  void run() {
    while (!script_.ended()) {
      step();
      check();
    }
  }

 private:
  // Now and then beyond the memory that an empty Buffer keeps.
  std::size_t size() {
    switch (script_.byte() % 16) {
      case 0:
        return script_.up_to(kLarge);
      case 1:
        return script_.up_to(2 * kLent);
      default:
        return script_.up_to(80);
    }
  }
  std::string text() {
    // The model stays small enough to be compared after each step.
    const std::size_t n = std::min(size(), kMost - std::min(kMost, model_.size()));
    written_ += n;
    return pattern(written_ - n, n);
  }

  void step() {
    switch (script_.byte() % 14) {
      case 0:
      case 1: {
        const std::string bytes = text();
        add(bytes, [&] { buffer_.append(bytes); });
        break;
      }
      case 2:
        prepare();
        break;
      case 3:
      case 4: {
        const std::size_t n = script_.up_to(model_.size());
        buffer_.consume(n);
        model_.erase(0, n);
        progress_ = 0;
        break;
      }
      case 5: {
        const std::size_t n = script_.up_to(model_.size());
        WEIR_CHECK(buffer_.take(n) == model_.substr(0, n), "take");
        model_.erase(0, n);
        progress_ = 0;
        break;
      }
      case 6:
        find();
        break;
      case 7:
        append_itself();
        break;
      case 8:
        move();
        break;
      case 9:
        buffer_.shrink_to_fit();
        full_ += model_.size();
        break;
      case 10:
        append_integer();
        break;
      case 11:
        read_integer();
        break;
      case 12:
        progress_ = script_.up_to(model_.size());
        buffer_.set_progress(progress_);
        break;
      default:
        script_.flag() ? lend() : end_loan();
    }
  }

  // Notes what an operation that adds `bytes` moves.
  template <typename Fn>
  void add(const std::string& bytes, Fn&& operation) {
    const std::byte* const before = buffer_.data();
    operation();
    if (buffer_.data() != before) moved_ += model_.size();
    model_ += bytes;
    added_ += bytes.size();
    most_ = std::max(most_, model_.size());
  }

  void prepare() {
    const std::string bytes = text();
    const std::size_t most = script_.flag() ? Buffer::npos : script_.up_to(kLarge);
    add(bytes, [&] {
      const std::span<std::byte> room = buffer_.prepare(bytes.size(), most);
      WEIR_CHECK(room.size() >= bytes.size(), "prepare({}) has room for {}", bytes.size(),
                 room.size());
      if (!bytes.empty()) std::memcpy(room.data(), bytes.data(), bytes.size());
      buffer_.commit(bytes.size());
    });
    if (most != Buffer::npos) full_ += 2 * model_.size();  // it moved because of the limit, too
  }

  void find() {
    const std::size_t position = script_.up_to(kMost);
    const std::string needle = pattern(position, script_.byte() % 4);
    const std::size_t from = script_.up_to(model_.size() + 3);
    WEIR_CHECK(buffer_.find(needle, from) == model_.find(needle, from), "find from {}", from);
  }

  void append_itself() {
    const std::size_t from = script_.up_to(model_.size());
    const std::size_t n = std::min<std::size_t>(script_.byte(), model_.size() - from);
    if (model_.size() + n > kMost) return;
    add(model_.substr(from, n), [&] { buffer_.append(buffer_.view().substr(from, n)); });
  }

  void move() {
    Buffer other(std::move(buffer_));
    WEIR_CHECK(buffer_.empty(), "a Buffer that was moved from has bytes");
    WEIR_CHECK(!other.lent(), "a move keeps the loan");
    buffer_.end_loan();
    buffer_ = std::move(other);
    full_ += model_.size();  // a loan was copied
  }

  void append_integer() {
    const std::uint64_t value = 0x0102030405060708U * (1U + script_.byte() % 254U);
    const std::uint64_t ordered = host_to_network(value);
    const std::string bytes(reinterpret_cast<const char*>(&ordered), sizeof(ordered));
    add(bytes, [&] { buffer_.append_u64(value); });
  }

  template <typename T>
  void expect_integer(std::optional<T> (Buffer::*peek)() const,
                      std::optional<T> (Buffer::*read)()) {
    const std::optional<T> peeked = (buffer_.*peek)();
    const std::optional<T> got = (buffer_.*read)();
    WEIR_CHECK(peeked == got && got.has_value() == (model_.size() >= sizeof(T)),
               "an integer of {} bytes", model_.size());
    if (!got) return;
    T ordered{};
    std::memcpy(&ordered, model_.data(), sizeof(T));
    WEIR_CHECK(*got == network_to_host(ordered), "read {}", *got);
    model_.erase(0, sizeof(T));
    progress_ = 0;
  }
  void read_integer() {
    switch (script_.byte() % 3) {
      case 0:
        return expect_integer(&Buffer::peek_u16, &Buffer::read_u16);
      case 1:
        return expect_integer(&Buffer::peek_u32, &Buffer::read_u32);
      default:
        return expect_integer(&Buffer::peek_u64, &Buffer::read_u64);
    }
  }

  void lend() {
    buffer_ = Buffer();
    written_ += kLent;
    model_ = pattern(written_, script_.up_to(kLent));
    internal::unpoison(block_);
    std::memcpy(block_.data(), model_.data(), model_.size());
    buffer_.lend(block_, model_.size());
    most_ = std::max(most_, model_.size());
    full_ += model_.size();
    progress_ = 0;
  }

  void end_loan() {
    const bool lent = buffer_.lent();
    buffer_.end_loan();
    if (!lent) return;
    model_.clear();
    progress_ = 0;
    internal::unpoison(block_);
    std::memset(block_.data(), '#', block_.size());  // to be seen if it is used after its loan
  }

  void check() const {
    WEIR_CHECK(buffer_.view() == model_, "{} bytes differ from {}", buffer_.size(), model_.size());
    WEIR_CHECK(buffer_.size() == model_.size() && buffer_.empty() == model_.empty(), "size");
    WEIR_CHECK(buffer_.progress() == progress_, "progress {}, it is {}", buffer_.progress(),
               progress_);
    WEIR_CHECK(!buffer_.lent() || buffer_.capacity() == 0, "lent and owned");
    WEIR_CHECK(!buffer_.empty() || buffer_.capacity() <= Buffer::kKeptCapacity,
               "an empty Buffer keeps {} bytes", buffer_.capacity());
    WEIR_CHECK(buffer_.capacity() <= std::max(kSmallest, 4 * most_), "{} bytes of memory for {}",
               buffer_.capacity(), most_);
    // Each byte pays for the moves of bytes that came before it.
    WEIR_CHECK(moved_ <= 5 * added_ + full_, "{} bytes moved to add {}", moved_, added_);
  }

  static constexpr std::size_t kSmallest = 256;  // memory for the first byte
  static constexpr std::size_t kLent = 300;
  static constexpr std::size_t kLarge = Buffer::kKeptCapacity - 1;
  static constexpr std::size_t kMost = 2 * Buffer::kKeptCapacity;

  Script script_;
  std::array<std::byte, kLent> block_{};
  Buffer buffer_;
  std::string model_;
  std::uint64_t written_ = 0;
  std::size_t progress_ = 0;
  std::size_t most_ = 0;   // bytes at the same time
  std::size_t added_ = 0;  // bytes
  std::size_t moved_ = 0;  // bytes, by operations that add others
  std::size_t full_ = 0;   // bytes in memory without room, which the next operation may move
};

void fuzz_buffer(Bytes input) { BufferScript(input).run(); }

const Target kTarget("buffer", fuzz_buffer);

}  // namespace
}  // namespace weir::fuzz
