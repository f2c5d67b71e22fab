// A transport that uses every freedom of the interface: it holds accepted bytes back, reads more
// than it was asked for, delays the handshake, and waits for the other direction.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string>

#include "weir/net/stream/transport.h"

namespace weir::test {

class TestTransport final : public Transport {
 public:
  struct Options {
    // Both ends exchange one byte before anything else, and every byte is changed by this. 0: none,
    // so that the other end may be a plain socket.
    std::uint8_t key = 0;
    // Calls of handshake() that wait for the socket to be writable.
    int delays = 2;
    // The handshake fails, with an alert of one byte.
    bool refuses = false;
    // The stream ends with a byte of its own, as close_notify does.
    bool announces_end = false;
    // Each reads_cross-th read waits for the socket to be writable, and each writes_cross-th write
    // waits for it to be readable. 0: none.
    int reads_cross = 0;
    int writes_cross = 0;
    bool becomes_plain = false;
  };
  static constexpr std::uint8_t kAlert = 0xfe;
  static constexpr std::uint8_t kEnd = 0xff;

  explicit TestTransport(const Options& options) : options_(options) {}

  IoResult handshake(int fd) override;
  IoResult read(int fd, std::span<std::byte> into) override;
  bool has_pending() const override { return next_ < kept_.size(); }
  IoResult write(int fd, std::span<const std::byte> bytes) override;
  std::size_t held() const override { return held_.size(); }
  IoResult flush(int fd) override;
  IoResult finish(int fd) override;
  bool plain() const override { return options_.becomes_plain; }
  std::string failure() const override { return failure_; }

 private:
  // The most bytes of one write, and of one read.
  static constexpr std::size_t kRecord = 6000;
  // At most this is read in one part, so that the short messages of tests are not split.
  static constexpr std::size_t kWhole = 128;

  void change(std::span<std::byte> bytes) const;
  // Reads a record into kept_, unless the last one is not handed out yet. So the handshake, too,
  // reads what comes behind it.
  IoResult read_record(int fd);

  const Options options_;
  int delays_ = 0;
  bool greeted_ = false;
  int reads_ = 0;
  int writes_ = 0;
  std::string kept_;  // read from the socket, and handed out from next_ on
  std::size_t next_ = 0;
  std::string held_;
  Errno error_;  // of the socket, after bytes were taken
  std::string failure_;
};

class TestTransports final : public TransportFactory {
 public:
  explicit TestTransports(const TestTransport::Options& options = {}) : options_(options) {}
  std::unique_ptr<Transport> make(EventLoop&) override {
    return std::make_unique<TestTransport>(options_);
  }

 private:
  const TestTransport::Options options_;
};

}  // namespace weir::test
