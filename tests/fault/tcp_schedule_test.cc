// Random lives of connections: both sides act at random, transfers are cut short or fail without
// memory. The streams are whole, the end is reported once, and no state lasts for ever.
#include <fcntl.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <cerrno>
#include <cstdint>
#include <random>
#include <string>
#include <string_view>
#include <utility>

#include "support/tcp_harness.h"

namespace weir::test {
namespace {

using Kind = CloseReason::Kind;
using namespace std::chrono_literals;

class Life {
 public:
  Life(std::uint32_t seed, TcpServer::Options options)
      : random_(seed), trigger_(options.trigger), tcp_(options) {
    tcp_.on.open = shrink_send_buffer;
    tcp_.on.data = [this](TcpConnection& c, Buffer& in) { take(c, in); };
    const auto act = [this](TcpConnection& c) {
      if (dice(4) == 0) server_step(c);
    };
    tcp_.on.half_close = tcp_.on.blocked = tcp_.on.drained = act;
    tcp_.on.close = [this](TcpConnection& c, CloseReason) {
      EXPECT_EQ(c.send("x"), SendResult::closed);
    };
    client_ = tcp_.connect(0, 4096);
  }

  void run() {
    for (int step = 0; step < 60; ++step) {
      if (dice(4) == 0) change_faults();
      client_step();
      if (TcpConnection* c = tcp_.connection(); c != nullptr && dice(3) == 0) server_step(*c);
      tcp_.turns(dice(3));
    }
    tcp_.faults.clear();
    expect_no_state_lasts();
    expect_whole_streams();
  }

 private:
  int dice(int n) { return std::uniform_int_distribution<>(0, n - 1)(random_); }
  std::size_t upto(int n) { return static_cast<std::size_t>(dice(n)) + 1; }

  void take(TcpConnection& c, Buffer& in) {
    ASSERT_EQ(c.state(), TcpConnection::State::open);
    got_.append(in.view().substr(seen_));
    seen_ = in.size();
    if (dice(3) != 0) {
      const std::size_t n = dice(2) == 0 ? in.size() : in.size() / 2;
      in.consume(n);
      seen_ -= n;
    }
    if (dice(3) == 0) server_step(c);
  }

  void note(SendResult result, std::string_view bytes) {
    if (result == SendResult::queued || result == SendResult::above_high_mark) accepted_ += bytes;
  }

  void server_step(TcpConnection& c) {
    const std::string bytes = pattern(upto(dice(2) == 0 ? 100 : 40'000), accepted_.size());
    switch (dice(40)) {
      case 0:
        c.close();
        break;
      case 1:
        if (dice(4) == 0) c.abort();
        break;
      case 2:
        c.shutdown();
        break;
      case 3:
      case 4:
      case 5:
        ++pauses_;
        c.pause_reading();
        break;
      case 6:
      case 7:
      case 8:
      case 9:
        if (pauses_ > 0) {
          --pauses_;
          c.resume_reading();
        }
        break;
      case 10:
        note(c.send(SharedBytes::copy(bytes)), bytes);
        break;
      case 11: {
        Fd file(::open("/tmp", O_TMPFILE | O_RDWR | O_CLOEXEC, 0600));
        ASSERT_EQ(::write(file.get(), bytes.data(), bytes.size()),
                  static_cast<ssize_t>(bytes.size()));
        note(c.send_file(std::move(file), 0, bytes.size()), bytes);
        break;
      }
      default:
        note(c.send(bytes), bytes);
    }
  }

  void client_step() {
    if (!client_.is_open()) return;
    switch (dice(30)) {
      case 0:
        if (dice(3) == 0) {
          client_.reset();
          was_rude_ = true;
        }
        break;
      case 1:
        client_.shutdown_write();
        half_closed_ = true;
        break;
      case 2:
      case 3:
      case 4:
      case 5:
        read_client();
        break;
      default:
        if (!half_closed_) {
          const std::string bytes = pattern(upto(dice(2) == 0 ? 50 : 20'000), sent_.size());
          sent_ += bytes.substr(0, client_.send_some(bytes, Duration::zero()));
        }
    }
  }

  void read_client() {
    if (client_.is_open()) answer_ += client_.receive_for(Duration::zero());
  }

  // An injected EAGAIN would take away an edge that the kernel has given, so it is for level only.
  void change_faults() {
    tcp_.faults.clear();
    if (dice(3) == 0) return;
    for (const Call call : {Call::recv, Call::recvmsg, Call::send, Call::sendmsg, Call::sendfile}) {
      for (std::uint64_t n = 1; n <= 4; ++n) {
        if (dice(8) == 0) {
          tcp_.faults.on(call).nth(n).fail(dice(2) == 0 ? ENOBUFS : ENOMEM);
        } else if (trigger_ == Trigger::level && dice(4) == 0) {
          tcp_.faults.on(call).nth(n).fail(EAGAIN);
        } else {
          tcp_.faults.on(call).nth(n).limit_bytes(upto(3000));
        }
      }
    }
  }

  // With nobody doing anything any more every connection ends by its deadlines. Those about the
  // peer rest while the program has paused reading.
  void expect_no_state_lasts() {
    EXPECT_TRUE(tcp_.until(
        [&] {
          read_client();
          TcpConnection* c = tcp_.connection();
          for (; c != nullptr && pauses_ > 0; --pauses_) c->resume_reading();
          tcp_.faults.advance_clock(50ms);
          return tcp_.calls.close > 0;
        },
        20s));
    if (client_.is_open()) answer_ += tcp_.collect_all(client_);  // what the kernel still has
    tcp_.turns(2);
    EXPECT_EQ(tcp_.calls.open, 1);
    EXPECT_EQ(tcp_.calls.close, 1);
    EXPECT_LE(tcp_.calls.half_close, 1);
    EXPECT_LE(tcp_.calls.blocked, tcp_.calls.drained + 1);
    EXPECT_EQ(tcp_.connection(), nullptr);
    EXPECT_EQ(tcp_.server->connection_count(), 0u);
  }

  void expect_whole_streams() {
    ASSERT_TRUE(tcp_.reason);
    const CloseReason reason = *tcp_.reason;
    SCOPED_TRACE(reason.to_string());
    EXPECT_TRUE(sent_.starts_with(got_)) << "bytes from the client are not what it sent";
    EXPECT_TRUE(accepted_.starts_with(answer_)) << "bytes to the client are not what was sent";
    if (tcp_.calls.half_close > 0) {
      EXPECT_TRUE(half_closed_) << "an end of file that nobody sent";
      EXPECT_EQ(got_.size(), sent_.size()) << "an end of file before the end";
    }
    if (reason.kind == Kind::reset) {
      EXPECT_TRUE(was_rude_);
    }
    const bool orderly = reason.kind == Kind::local_close || reason.kind == Kind::peer_eof ||
                         reason.kind == Kind::idle_timeout;
    if (orderly && !was_rude_) {
      EXPECT_EQ(answer_.size(), accepted_.size()) << "an orderly close lost output";
    }
  }

  std::mt19937 random_;
  const Trigger trigger_;
  std::string sent_;      // by the client
  std::string got_;       // by the handler
  std::string accepted_;  // by send()
  std::string answer_;    // what the client received
  std::size_t seen_ = 0;  // of what the handler left
  int pauses_ = 0;
  bool half_closed_ = false;
  bool was_rude_ = false;
  TcpHarness tcp_;
  TestClient client_;
};

TEST(TcpSchedule, F18_RandomLivesKeepTheStreamsWholeAndEndOnce) {
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
  constexpr std::uint32_t kLives = 100;
#else
  constexpr std::uint32_t kLives = 400;
#endif
  for (std::uint32_t seed = 0; seed < kLives && !HasFailure(); ++seed) {
    SCOPED_TRACE("seed " + std::to_string(seed));
    Life life(seed, {.trigger = seed % 2 == 0 ? Trigger::level : Trigger::edge,
                     .idle_timeout = 60s,
                     .write_stall_timeout = 30s,
                     .max_input = 16 * 1024 * 1024,
                     .high_water = 32 * 1024,
                     .max_output = 256 * 1024,
                     .overflow = Overflow::drop,
                     .allow_half_open = seed % 4 < 2});
    life.run();
  }
}

}  // namespace
}  // namespace weir::test
