// Connections on two loops, used by many threads through their references: sending, broadcasting,
// closing, adopting, and destroying the server at any moment.
#include <gtest/gtest.h>
#include <sys/socket.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <charconv>
#include <chrono>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "stress/rounds.h"
#include "support/loops.h"
#include "weir/net/reactor/event_loop.h"
#include "weir/net/route/broadcast.h"
#include "weir/net/stream/connection_ref.h"
#include "weir/net/sys/sys.h"
#include "weir/net/tcp/tcp_server.h"

namespace weir::test {
namespace {

using namespace std::chrono_literals;

constexpr std::size_t kThreads = 3;
constexpr std::size_t kConnections = 6;
constexpr int kSteps = 120;

// The handler of all connections, on both loops.
class Guests final : public ConnectionHandler {
 public:
  std::atomic<std::uint64_t> opened{0};
  std::atomic<std::uint64_t> closed{0};

  // A reference to one of them, open or not; none while there are none.
  ConnectionRef any(Dice& dice) {
    const std::lock_guard lock(mutex_);
    return refs_.empty() ? ConnectionRef() : refs_[dice.below(refs_.size())];
  }

 private:
  void on_open(TcpConnection& connection) override {
    ++opened;
    const std::lock_guard lock(mutex_);
    refs_.push_back(connection.ref());
  }
  void on_data(TcpConnection& connection, Buffer& in) override { connection.send(in); }
  void on_close(TcpConnection& connection, CloseReason) override {
    EXPECT_EQ(connection.ref().get(), nullptr);
    ++closed;
  }

  std::mutex mutex_;
  std::vector<ConnectionRef> refs_;
};

// A server with two loops, and the other ends of its connections, which this thread reads.
struct Party {
  Party() {
    server = std::make_unique<TcpServer>(
        loop,
        TcpServer::Options{
            .threads = 2, .max_output = 1 << 20, .overflow = Overflow::drop, .linger_timeout = 1s});
    server->use_handler(guests);
  }
  // Adopts one more connection. [loop]
  void adopt() {
    auto ends = internal::sys::socket_pair();
    ASSERT_TRUE(ends);
    if (server && server->adopt(std::move(ends->first))) {
      peers.push_back({.fd = std::move(ends->second), .received = {}, .ended = false});
    }
  }
  // Reads what has come. True when all peers have seen an end.
  bool read() {
    bool all = true;
    std::array<char, 16384> block;
    for (Peer& peer : peers) {
      for (ssize_t got = 1; !peer.ended && got > 0;) {
        got = ::recv(peer.fd.get(), block.data(), block.size(), MSG_DONTWAIT);
        if (got > 0) peer.received.append(block.data(), static_cast<std::size_t>(got));
        if (got == 0 || (got < 0 && errno != EAGAIN)) {
          peer.ended = true;
          peer.fd.reset();
        }
      }
      all = all && peer.ended;
    }
    return all;
  }

  struct Peer {
    Fd fd;
    std::string received;
    bool ended;
  };

  EventLoop loop;
  std::shared_ptr<Guests> guests = std::make_shared<Guests>();
  std::unique_ptr<TcpServer> server;
  std::vector<Peer> peers;
};

// Lines "THREAD NUMBER", whole and in ascending order for each thread. A reset may cut the last.
void check_lines(std::string_view text) {
  std::map<std::string_view, int> last;
  for (std::size_t end = text.find('\n'); end != text.npos; end = text.find('\n')) {
    const std::string_view line = text.substr(0, end);
    const std::size_t space = line.find(' ');
    ASSERT_NE(space, line.npos) << line;
    int number = 0;
    const auto parsed = std::from_chars(line.data() + space + 1, line.data() + line.size(), number);
    ASSERT_EQ(parsed.ptr, line.data() + line.size()) << line;
    int& before = last.try_emplace(line.substr(0, space), -1).first->second;
    ASSERT_LT(before, number) << line;
    before = number;
    text.remove_prefix(end + 1);
  }
}

std::string line_of(std::size_t thread, int number) {
  return std::to_string(thread) + " " + std::to_string(number) + "\n";
}

// What a thread does with a connection that may be on any loop, or gone.
void use(const ConnectionRef& ref, std::size_t thread, int step, Dice& dice) {
  switch (dice.below(16)) {
    case 0:
      ref.close();
      return;
    case 1:
      ref.shutdown();
      return;
    case 2:
      if (dice.one_in(3)) ref.abort();
      return;
    case 3:
      ref.post([](TcpConnection& connection) {
        connection.pause_reading();
        connection.resume_reading();
      });
      return;
    case 4:
    case 5:
      ref.send(SharedBytes::copy(line_of(thread, step)));
      return;
    default:
      ref.send(line_of(thread, step));
  }
}

// Every open has one close, and each peer gets whole lines in the order of each sender.
TEST(Stress, SendingAndClosing) {
  Rounds::run([](std::uint64_t seed) {
    Party party;
    for (std::size_t i = 0; i < kConnections; ++i) party.adopt();
    Threads threads(seed, kThreads, [&](std::size_t thread, Dice& dice) {
      for (int step = 0; step < kSteps; ++step) {
        use(party.guests->any(dice), thread, step, dice);
        dice.pause();
      }
    });
    EXPECT_TRUE(run_until(
        party.loop,
        [&] {
          party.read();
          return threads.ended();
        },
        kPatience));
    bool done = false;
    party.server->shutdown(2s, [&] { done = true; });
    // A server that shuts down waits for the end of its peers.
    EXPECT_TRUE(run_until(
        party.loop, [&] { return party.read() & done; }, kPatience));
    EXPECT_EQ(party.guests->opened, kConnections);
    EXPECT_EQ(party.guests->closed, kConnections);
    for (const Party::Peer& peer : party.peers) check_lines(peer.received);
  });
}

// Members come and go while several threads send to all. Each member gets each message at most
// once, in order.
TEST(Stress, Broadcasting) {
  Rounds::run([](std::uint64_t seed) {
    Party party;
    for (std::size_t i = 0; i < kConnections; ++i) party.adopt();
    auto room = std::make_shared<Broadcast>();
    Threads threads(seed, kThreads, [&, room](std::size_t thread, Dice& dice) {
      for (int step = 0; step < kSteps; ++step) {
        const ConnectionRef ref = party.guests->any(dice);
        switch (dice.below(6)) {
          case 0:
            ref.post([room](TcpConnection& connection) { room->join(connection); });
            break;
          case 1:
            ref.post([room](TcpConnection& connection) { room->leave(connection); });
            break;
          case 2:
            if (dice.one_in(8)) ref.close();
            break;
          default:
            room->send(SharedBytes::copy(line_of(thread, step)),
                       dice.one_in(3) ? ref : ConnectionRef());
        }
        dice.pause();
      }
    });
    room.reset();  // the last of the others to use it destroys it, on whatever thread
    EXPECT_TRUE(run_until(
        party.loop,
        [&] {
          party.read();
          return threads.ended();
        },
        kPatience));
    bool done = false;
    party.server->shutdown(2s, [&] { done = true; });
    EXPECT_TRUE(run_until(
        party.loop, [&] { return party.read() & done; }, kPatience));
    EXPECT_EQ(party.guests->closed, party.guests->opened);
    for (const Party::Peer& peer : party.peers) check_lines(peer.received);
  });
}

// The server is destroyed, or shut down, while connections arrive and are used. Each of them ends,
// and no handler is called after the destructor.
TEST(Stress, AdoptingAndDestroying) {
  Rounds::run([](std::uint64_t seed) {
    Party party;
    party.adopt();
    Threads threads(seed, kThreads, [&](std::size_t thread, Dice& dice) {
      for (int step = 0; step < kSteps / 3; ++step) {
        if (dice.one_in(5)) {
          party.loop.post([&] { party.adopt(); });
        } else {
          use(party.guests->any(dice), thread, step, dice);
        }
        dice.pause();
      }
    });
    Dice dice(seed, 0);
    const auto turns = static_cast<int>(dice.below(40));
    for (int i = 0; i < turns; ++i) {
      run_turn(party.loop);
      party.read();
    }
    if (dice.one_in(2)) party.server->shutdown(Duration(dice.below(3'000'000)), [] {});
    if (dice.one_in(2)) run_turn(party.loop);
    party.server.reset();
    const std::uint64_t opened = party.guests->opened;
    const std::uint64_t closed = party.guests->closed;
    EXPECT_LE(closed, opened);
    EXPECT_TRUE(run_until(
        party.loop, [&] { return party.read() & threads.ended(); }, kPatience));
    EXPECT_EQ(party.guests->opened, opened);
    EXPECT_EQ(party.guests->closed, closed);
    for (const Party::Peer& peer : party.peers) check_lines(peer.received);
  });
}

}  // namespace
}  // namespace weir::test
