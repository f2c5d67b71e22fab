// The cost of a relay: moves data over loopback with relay(), copied and spliced in turn, and
// prints the CPU seconds of the relay's thread for each GiB, and the most bytes that it held.
//
//   relay_cpu [rounds] [MiB per round] [seconds for which the reader stops half-way]
//             5        1024            0                                    the defaults
#include <netinet/in.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <ctime>
#include <memory>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "weir/base/fd.h"
#include "weir/net/route/relay.h"
#include "weir/net/stream/connection_ref.h"
#include "weir/net/stream/tcp_connection.h"
#include "weir/net/tcp/tcp_server.h"

namespace {

using Path = weir::RelayOptions::Path;

constexpr std::size_t kPiece = 256 * 1024;

[[noreturn]] void give_up(const char* what) {
  std::perror(what);
  std::exit(1);
}

weir::Fd connect_to(const std::string& address) {
  sockaddr_in to{};
  to.sin_family = AF_INET;
  to.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  to.sin_port =
      htons(static_cast<std::uint16_t>(std::stoi(address.substr(address.rfind(':') + 1))));
  weir::Fd fd(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
  if (::connect(fd.get(), reinterpret_cast<const sockaddr*>(&to), sizeof(to)) != 0) {
    give_up("connect");
  }
  return fd;
}

void send_all(int fd, std::uint64_t bytes) {
  const auto piece = std::make_unique<char[]>(kPiece);
  while (bytes > 0) {
    const auto sent = ::send(fd, piece.get(), std::min<std::uint64_t>(bytes, kPiece), MSG_NOSIGNAL);
    if (sent <= 0) give_up("send");
    bytes -= static_cast<std::uint64_t>(sent);
  }
  ::shutdown(fd, SHUT_WR);
}

// Stops for some time after `half` bytes.
std::uint64_t receive_all(int fd, std::uint64_t half, unsigned stall) {
  const auto piece = std::make_unique<char[]>(kPiece);
  std::uint64_t total = 0;
  for (;;) {
    if (stall > 0 && total >= half) ::sleep(std::exchange(stall, 0));
    const auto got = ::recv(fd, piece.get(), kPiece, 0);
    if (got < 0) give_up("recv");
    if (got == 0) return total;
    total += static_cast<std::uint64_t>(got);
  }
}

double seconds(clockid_t clock) {
  timespec time{};
  ::clock_gettime(clock, &time);
  return static_cast<double>(time.tv_sec) + static_cast<double>(time.tv_nsec) * 1e-9;
}

struct Cost {
  double cpu;          // of the relay's thread, seconds for one GiB
  double wall;         // seconds for one GiB
  std::uint64_t held;  // the most bytes held at a time
};

Cost run(Path path, std::uint64_t bytes, unsigned stall) {
  weir::EventLoop loop;
  weir::TcpServer server(loop);
  std::vector<weir::ConnectionRef> ends;
  Cost cost{};
  server.on_open([&](weir::TcpConnection& connection) {
    ends.push_back(connection.ref());
    if (ends.size() < 2) return;
    const double cpu = seconds(CLOCK_THREAD_CPUTIME_ID);
    const double wall = seconds(CLOCK_MONOTONIC);
    weir::relay(*ends[0].get(), connection, {.path = path}, [&, cpu, wall](const auto& result) {
      if (result.a_to_b != bytes) give_up("relay");
      cost.cpu = seconds(CLOCK_THREAD_CPUTIME_ID) - cpu;
      cost.wall = seconds(CLOCK_MONOTONIC) - wall;
      loop.stop();
    });
  });
  loop.run_every(std::chrono::milliseconds(1), [&] {
    if (ends.size() < 2) return;
    if (const weir::TcpConnection* to = ends[1].get()) {
      cost.held = std::max(cost.held, to->pending_output());
    }
  });
  const auto address = server.listen("127.0.0.1:0");
  if (!address) give_up("listen");
  const weir::Fd source = connect_to(address->to_string());
  const weir::Fd sink = connect_to(address->to_string());
  std::uint64_t received = 0;
  std::thread receiver([&] {
    received = receive_all(sink.get(), bytes / 2, stall);
    ::shutdown(sink.get(), SHUT_WR);
  });
  std::thread sender([&] { send_all(source.get(), bytes); });
  loop.run();
  sender.join();
  receiver.join();
  if (received != bytes) give_up("count");
  const double gib = static_cast<double>(bytes) / (1 << 30);
  return {cost.cpu / gib, cost.wall / gib, cost.held};
}

double median(std::vector<double> values) {
  std::sort(values.begin(), values.end());
  return values[values.size() / 2];
}

}  // namespace

int main(int count, char** arguments) {
  const int rounds = count > 1 ? std::max(1, std::atoi(arguments[1])) : 5;
  const std::uint64_t mib =
      count > 2 ? static_cast<std::uint64_t>(std::max(1, std::atoi(arguments[2]))) : 1024;
  const auto stall = count > 3 ? static_cast<unsigned>(std::max(0, std::atoi(arguments[3]))) : 0;
  std::vector<double> copied;
  std::vector<double> spliced;
  for (int round = 0; round < rounds; ++round) {
    for (const Path path : {Path::copy, Path::splice}) {
      const Cost cost = run(path, mib << 20, stall);
      (path == Path::copy ? copied : spliced).push_back(cost.cpu);
      std::printf("%-6s  %.3f CPU s/GiB  %.2f GiB/s  held at most %llu KiB\n",
                  path == Path::copy ? "copy" : "splice", cost.cpu, 1 / cost.wall,
                  static_cast<unsigned long long>(cost.held / 1024));
    }
  }
  std::printf("median  copy %.3f  splice %.3f CPU s/GiB  ratio %.2f\n", median(copied),
              median(spliced), median(copied) / median(spliced));
}
