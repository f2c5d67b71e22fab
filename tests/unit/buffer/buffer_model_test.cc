// Random operations on a Buffer, owned and lent, against a std::string.
#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstring>
#include <random>
#include <span>
#include <string>
#include <string_view>
#include <utility>

#include "weir/net/buffer/buffer.h"

namespace weir {
namespace {

class BufferModel : public testing::TestWithParam<unsigned> {
 protected:
  ~BufferModel() override { internal::unpoison(block_); }

  std::size_t up_to(std::size_t limit) { return random_() % (limit + 1); }

  // Mostly small, sometimes large.
  std::size_t some_size() { return random_() % 20 == 0 ? up_to(5000) : up_to(80); }

  std::string some_text() {
    std::string text(some_size(), '\0');
    for (char& c : text) c = static_cast<char>('a' + random_() % 4);
    return text;
  }

  void step();

  void lend() {
    buffer_ = Buffer();
    model_ = some_text().substr(0, block_.size());
    internal::unpoison(block_);
    std::memcpy(block_.data(), model_.data(), model_.size());
    buffer_.lend(block_, model_.size());
  }

  void end_loan() {
    const bool lent = buffer_.lent();
    buffer_.end_loan();
    if (lent) {
      model_.clear();
      internal::unpoison(block_);
      std::memset(block_.data(), '#', block_.size());
    }
  }

  std::mt19937 random_{GetParam()};
  std::array<std::byte, 300> block_{};
  Buffer buffer_;
  std::string model_;
};

void BufferModel::step() {
  switch (random_() % 12) {
    case 0:
    case 1:
    case 2: {
      const std::string text = some_text();
      buffer_.append(text);
      model_ += text;
      break;
    }
    case 3: {
      const std::string text = some_text();
      const std::span<std::byte> room = buffer_.prepare(text.size());
      ASSERT_GE(room.size(), text.size());
      if (!text.empty()) std::memcpy(room.data(), text.data(), text.size());
      buffer_.commit(text.size());
      model_ += text;
      break;
    }
    case 4:
    case 5: {
      const std::size_t n = up_to(model_.size());
      buffer_.consume(n);
      model_.erase(0, n);
      break;
    }
    case 6: {
      const std::size_t n = std::min(some_size(), model_.size());
      ASSERT_EQ(buffer_.take(n), model_.substr(0, n));
      model_.erase(0, n);
      break;
    }
    case 7: {
      const std::string needle = some_text().substr(0, 4);
      const std::size_t from = up_to(model_.size() + 3);
      ASSERT_EQ(buffer_.find(needle, from), model_.find(needle, from));
      break;
    }
    case 8: {
      const std::size_t from = up_to(model_.size());
      const std::size_t n = std::min(up_to(100), model_.size() - from);
      buffer_.append(buffer_.view().substr(from, n));
      model_ += model_.substr(from, n);
      break;
    }
    case 9: {
      Buffer other(std::move(buffer_));
      buffer_.end_loan();
      buffer_ = std::move(other);
      break;
    }
    case 10:
      if (random_() % 3 == 0) {
        buffer_.clear();
        model_.clear();
      }
      break;
    default:
      random_() % 2 == 0 ? lend() : end_loan();
  }
}

TEST_P(BufferModel, BehavesLikeAString) {
  for (int i = 0; i < 20'000; ++i) {
    step();
    if (HasFatalFailure()) FAIL() << "step " << i;
    ASSERT_EQ(buffer_.view(), model_) << "step " << i;
    ASSERT_EQ(buffer_.size(), model_.size());
    ASSERT_EQ(buffer_.empty(), model_.empty());
    if (buffer_.empty()) {
      ASSERT_LE(buffer_.capacity(), Buffer::kKeptCapacity);
    }
    if (buffer_.lent()) {
      ASSERT_EQ(buffer_.capacity(), 0U);
    }
  }
}

INSTANTIATE_TEST_SUITE_P(Seeds, BufferModel, testing::Range(1U, 9U));

}  // namespace
}  // namespace weir
