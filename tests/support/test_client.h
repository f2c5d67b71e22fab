// TestClient: a blocking client of plain system calls with a deadline on each step, so that a test
// never hangs. It can also misbehave: reset, stop reading, half-close. [one thread at a time]
#pragma once

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "weir/base/clock.h"
#include "weir/net/socket/socket_address.h"

namespace weir::test {

class TestClient {
 public:
  static constexpr std::chrono::seconds kTimeout{5};

  TestClient() = default;
  // Connects, or fails the test.
  explicit TestClient(const SocketAddress& server) { connect(server); }
  ~TestClient() { close(); }
  TestClient(TestClient&& other) noexcept;
  TestClient& operator=(TestClient&& other) noexcept;

  // Buffer sizes take effect on the next connect(); 0 leaves the kernel's.
  void set_buffers(int send_bytes, int receive_bytes);
  // Binds to this address before connecting (127.0.0.2:0 for more ports).
  void bind_to(const SocketAddress& address) { local_ = address; }
  // 0 or an errno. A failure does not fail the test.
  int try_connect(const SocketAddress& server);
  // Fails the test when it does not work.
  bool connect(const SocketAddress& server);

  // The number of bytes that were sent before the deadline, the peer's reset or EPIPE.
  std::size_t send_some(std::string_view bytes, Duration deadline = kTimeout);
  // True when all bytes were sent.
  bool send_all(std::string_view bytes, Duration deadline = kTimeout);
  // Exactly n bytes, or what came before the deadline, the end or an error.
  std::string receive_exactly(std::size_t n, Duration deadline = kTimeout);
  // Everything until the peer's end of file; see ended() for how it ended.
  std::string receive_until_eof(Duration deadline = kTimeout);
  // The bytes that come within `time`; none is no failure.
  std::string receive_for(Duration time);

  // How the stream ended, by the last receive.
  enum class End : std::uint8_t { open, eof, reset, other_error };
  End ended() const { return end_; }
  // Waits for the end, throwing bytes away; `open` after the deadline.
  End wait_for_end(Duration deadline = kTimeout);

  void shutdown_write();
  // Ends the connection with RST.
  void reset();
  void close();

  int fd() const { return fd_; }
  bool is_open() const { return fd_ >= 0; }
  SocketAddress local_address() const;

 private:
  bool wait(short events, TimePoint end) const;
  // False when nothing more will come, or the deadline passed.
  bool receive_into(std::string& into, std::size_t most, TimePoint end);

  int fd_ = -1;
  int send_buffer_ = 0;
  int receive_buffer_ = 0;
  std::optional<SocketAddress> local_;
  End end_ = End::open;
};

}  // namespace weir::test
