#include "support/test_transport.h"

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <span>
#include <string_view>
#include <utility>

#include "weir/net/sys/sys.h"

namespace weir::test {

namespace sys = internal::sys;

void TestTransport::change(std::span<std::byte> bytes) const {
  if (options_.key == 0) return;
  for (std::byte& byte : bytes) byte ^= std::byte{options_.key};
}

IoResult TestTransport::handshake(int fd) {
  if (std::exchange(delays_, delays_ + 1) < options_.delays) return IoResult::want_write();
  if (options_.refuses) {
    held_.push_back(static_cast<char>(kAlert));
    failure_ = "the test refuses it";
    return IoResult::failed(Errno(EPROTO));
  }
  if (options_.key == 0) return IoResult::moved(1);
  if (!std::exchange(greeted_, true)) held_.push_back(static_cast<char>(options_.key));
  if (const IoResult flushed = flush(fd); flushed.then != IoResult::Then::ok) return flushed;
  if (const IoResult record = read_record(fd); record.then != IoResult::Then::ok) return record;
  const std::byte greeting{static_cast<unsigned char>(kept_[next_++])};
  if (greeting == std::byte{options_.key}) return IoResult::moved(1);
  failure_ = greeting == std::byte{kAlert} ? "the peer refuses it" : "the peer has another key";
  return IoResult::failed(Errno(EPROTO));
}

IoResult TestTransport::read_record(int fd) {
  if (has_pending()) return {};
  kept_.resize(kRecord);
  next_ = 0;
  const auto got = sys::recv(fd, std::as_writable_bytes(std::span(kept_)));
  kept_.resize(got ? *got : 0);
  if (!got) return got.error() == EAGAIN ? IoResult::want_read() : IoResult::failed(got.error());
  return *got == 0 ? IoResult::end() : IoResult();
}

// Hands out a long record in parts.
IoResult TestTransport::read(int fd, std::span<std::byte> into) {
  if (options_.reads_cross > 0 && ++reads_ % options_.reads_cross == 0) {
    return IoResult::want_write();
  }
  if (const IoResult record = read_record(fd); record.then != IoResult::Then::ok) return record;
  if (options_.announces_end && static_cast<std::uint8_t>(kept_[next_]) == kEnd) {
    return IoResult::end();
  }
  const std::size_t left = kept_.size() - next_;
  const std::size_t part = left > kWhole ? left / 2 : left;
  std::string_view bytes = std::string_view(kept_).substr(next_, std::min(part, into.size()));
  if (options_.announces_end) bytes = bytes.substr(0, bytes.find(static_cast<char>(kEnd)));
  std::memcpy(into.data(), bytes.data(), bytes.size());
  change(into.first(bytes.size()));
  next_ += bytes.size();
  return IoResult::moved(bytes.size());
}

IoResult TestTransport::write(int fd, std::span<const std::byte> bytes) {
  if (options_.writes_cross > 0 && ++writes_ % options_.writes_cross == 0) {
    return IoResult::want_read();
  }
  if (const IoResult flushed = flush(fd); flushed.then != IoResult::Then::ok) return flushed;
  const std::size_t n = std::min(bytes.size(), kRecord);
  const std::size_t before = held_.size();
  held_.append(reinterpret_cast<const char*>(bytes.data()), n);
  change(std::as_writable_bytes(std::span(held_)).subspan(before));
  const IoResult flushed = flush(fd);
  if (flushed.then == IoResult::Then::failed) error_ = flushed.error;
  return IoResult::moved(n);
}

IoResult TestTransport::flush(int fd) {
  if (error_) return IoResult::failed(std::exchange(error_, {}));
  while (!held_.empty()) {
    const auto sent = sys::send(fd, std::as_bytes(std::span(held_)));
    if (!sent) {
      return sent.error() == EAGAIN ? IoResult::want_write() : IoResult::failed(sent.error());
    }
    held_.erase(0, *sent);
  }
  return {};
}

IoResult TestTransport::finish(int) {
  if (options_.announces_end) held_.push_back(static_cast<char>(kEnd));
  return {};
}

}  // namespace weir::test
