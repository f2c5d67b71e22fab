// weir-sizes: the sizes of the main classes of weir, and the heap memory for one more connection,
// timer, task and so on, including the overhead of malloc. Measured in this process, with real
// connections over loopback.
//
//   weir-sizes [--json]
#include <malloc.h>
#include <netinet/in.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <chrono>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <new>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "weir/base/fd.h"
#include "weir/net/buffer/buffer.h"
#include "weir/net/buffer/output_queue.h"
#include "weir/net/buffer/shared_bytes.h"
#include "weir/net/reactor/event_loop.h"
#include "weir/net/reactor/internal/loop_core.h"
#include "weir/net/route/broadcast.h"
#include "weir/net/socket/socket_address.h"
#include "weir/net/stream/connection_ref.h"
#include "weir/net/stream/internal/connection.h"
#include "weir/net/stream/tcp_connection.h"
#include "weir/net/tcp/tcp_client.h"
#include "weir/net/tcp/tcp_server.h"

namespace {

std::int64_t live_blocks = 0;  // this program has one thread
std::int64_t live_bytes = 0;

// The memory of malloc for the block: its size rounded up, and the word before it.
std::int64_t taken(void* block) {
  return static_cast<std::int64_t>(::malloc_usable_size(block) + sizeof(std::size_t));
}
void* counted(void* block) {
  if (block == nullptr) throw std::bad_alloc();
  ++live_blocks;
  live_bytes += taken(block);
  return block;
}
void counted_free(void* block) {
  if (block == nullptr) return;
  --live_blocks;
  live_bytes -= taken(block);
  std::free(block);
}

}  // namespace

void* operator new(std::size_t size) { return counted(std::malloc(size == 0 ? 1 : size)); }
void* operator new(std::size_t size, std::align_val_t alignment) {
  const auto align = static_cast<std::size_t>(alignment);
  return counted(std::aligned_alloc(align, (size + align - 1) / align * align));
}
void operator delete(void* block) noexcept { counted_free(block); }
void operator delete(void* block, std::size_t) noexcept { counted_free(block); }
void operator delete(void* block, std::align_val_t) noexcept { counted_free(block); }
void operator delete(void* block, std::size_t, std::align_val_t) noexcept { counted_free(block); }

namespace {

using weir::Buffer;
using weir::EventLoop;
using weir::TcpConnection;
using weir::TcpServer;

constexpr std::int64_t kConnections = 1000;
constexpr std::int64_t kMany = 65536;  // a power of two: containers that double are full

// On a busy machine callbacks look long; the warnings are not wanted here.
const EventLoop::Options kOptions{.stall_threshold = weir::Duration(0)};

struct Row {
  const char* what;
  double bytes;
  double blocks;  // negative: not on the heap
};

[[noreturn]] void give_up(const char* what) {
  std::fprintf(stderr, "error: %s: %s\n", what, std::strerror(errno));
  std::exit(1);
}

// The growth of the heap since its construction, divided by `count`.
class Growth {
 public:
  Row row(const char* what, std::int64_t count) const {
    const auto per = static_cast<double>(count);
    return {what, static_cast<double>(live_bytes - bytes_) / per,
            static_cast<double>(live_blocks - blocks_) / per};
  }

 private:
  const std::int64_t bytes_ = live_bytes;
  const std::int64_t blocks_ = live_blocks;
};

weir::Fd connect_to(const weir::SocketAddress& address) {
  weir::Fd fd(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
  if (!fd.valid() || ::connect(fd.get(), address.data(), address.size()) != 0) give_up("connect");
  return fd;
}

// Runs turns of the loop until the condition holds.
template <typename Condition>
void run_until(EventLoop& loop, Condition&& condition) {
  const auto deadline = std::chrono::steady_clock::now() + std::chrono::seconds(20);
  while (!condition()) {
    if (std::chrono::steady_clock::now() > deadline) give_up("the condition was not met in time");
    loop.post([&loop] { loop.stop(); });
    loop.run();
  }
}

void send_text(const std::vector<weir::Fd>& clients, std::string_view text) {
  for (const weir::Fd& client : clients) {
    const auto sent = ::send(client.get(), text.data(), text.size(), MSG_NOSIGNAL);
    if (sent != static_cast<ssize_t>(text.size())) give_up("send");
  }
}
void receive_text(const std::vector<weir::Fd>& clients, std::size_t size) {
  std::array<char, 4096> bytes;
  for (const weir::Fd& client : clients) {
    if (::recv(client.get(), bytes.data(), size, MSG_WAITALL) != static_cast<ssize_t>(size)) {
      give_up("recv");
    }
  }
}

// A server with `kConnections` clients, measured at several times.
void measure_connections(std::vector<Row>& rows) {
  EventLoop loop(kOptions);
  const Growth listener;
  TcpServer server(loop);
  weir::Broadcast room;
  std::vector<TcpConnection*> all;
  all.reserve(kConnections);
  std::vector<weir::Fd> clients;
  clients.reserve(kConnections);
  std::uint64_t came = 0;
  server.on_open([&](TcpConnection& connection) { all.push_back(&connection); });
  server.on_data([&](TcpConnection& connection, Buffer& in) {
    came += in.size();
    if (in.view().ends_with('\n')) connection.send(in);  // half a message stays
  });
  const auto address = server.listen("127.0.0.1:0");
  if (!address) give_up("listen");

  rows.push_back(listener.row("the first TcpServer of a loop, with the blocks that all share", 1));

  clients.push_back(connect_to(*address));
  run_until(loop, [&] { return all.size() == 1; });
  send_text(clients, "hello\n");
  run_until(loop, [&] { return came == 6; });
  receive_text(clients, 6);

  const Growth connections;
  while (clients.size() < kConnections) clients.push_back(connect_to(*address));
  run_until(loop, [&] { return all.size() == clients.size(); });
  const auto counted = static_cast<std::int64_t>(all.size() - 1);
  rows.push_back(connections.row("an idle connection, accepted", counted));

  came = 0;
  send_text(clients, std::string(1023, 'x') + "\n");
  run_until(loop, [&] { return came == clients.size() * 1024; });
  receive_text(clients, 1024);
  rows.push_back(connections.row("an idle connection, after 1 KiB there and back", counted));

  const Growth members;
  for (TcpConnection* connection : all) room.join(*connection);
  rows.push_back(members.row("a member of a Broadcast, besides its connection", kConnections));

  const Growth partial;
  came = 0;
  send_text(clients, std::string(100, 'x'));
  run_until(loop, [&] { return came >= clients.size() * 100; });
  rows.push_back(partial.row("half a message of 100 bytes in the input", kConnections));
}

void measure_loop(std::vector<Row>& rows) {
  const Growth growth;
  EventLoop loop(kOptions);
  rows.push_back(growth.row("an EventLoop, besides its object", 1));

  const Growth timers;
  for (std::int64_t i = 0; i < kMany; ++i)
    loop.run_after(std::chrono::hours(1), [&loop] { loop.stop(); });
  rows.push_back(timers.row("a timer, of 65,536", kMany));

  const Growth tasks;
  for (std::int64_t i = 0; i < kMany; ++i) loop.post([&loop] { loop.stop(); });
  rows.push_back(tasks.row("a posted task that captures a pointer, of 65,536", kMany));
}

void measure_large_tasks(std::vector<Row>& rows) {
  EventLoop loop(kOptions);
  const Growth tasks;
  const std::array<char, 64> captured{};
  for (std::int64_t i = 0; i < kMany; ++i) loop.post([captured] { static_cast<void>(captured); });
  rows.push_back(tasks.row("a posted task that captures 64 bytes, of 65,536", kMany));
}

template <typename T>
Row object(const char* name) {
  return {name, static_cast<double>(sizeof(T)), -1};
}

// A TcpConnection is the face of a Connection, and an EventLoop that of a LoopCore.
std::vector<Row> objects() {
  return {object<weir::internal::Connection>("Connection"),
          object<weir::internal::LoopCore>("LoopCore"),
          object<weir::Channel>("Channel"),
          object<Buffer>("Buffer"),
          object<weir::OutputQueue>("OutputQueue"),
          object<weir::SharedBytes>("SharedBytes"),
          object<weir::ConnectionRef>("ConnectionRef"),
          object<weir::SocketAddress>("SocketAddress"),
          object<weir::Task>("Task"),
          object<weir::TimerId>("TimerId"),
          object<weir::SlotId>("SlotId"),
          object<TcpServer>("TcpServer"),
          object<weir::TcpClient>("TcpClient"),
          object<weir::Broadcast>("Broadcast")};
}

void print_table(const std::vector<Row>& sizes, const std::vector<Row>& heap) {
  std::printf("%-64s  %10s\n", "sizeof", "bytes");
  for (const Row& row : sizes) std::printf("%-64s  %10.0f\n", row.what, row.bytes);
  std::printf("\n%-64s  %10s  %8s\n", "heap for each", "bytes", "blocks");
  for (const Row& row : heap) {
    std::printf("%-64s  %10.1f  %8.2f\n", row.what, row.bytes, row.blocks);
  }
}

void print_json(const std::vector<Row>& sizes, const std::vector<Row>& heap) {
  std::printf("{\n  \"sizeof\": {");
  const char* comma = "";
  for (const Row& row : sizes) {
    std::printf("%s\n    \"%s\": %.0f", std::exchange(comma, ","), row.what, row.bytes);
  }
  std::printf("\n  },\n  \"heap\": {");
  comma = "";
  for (const Row& row : heap) {
    std::printf("%s\n    \"%s\": {\"bytes\": %.1f, \"blocks\": %.2f}", std::exchange(comma, ","),
                row.what, row.bytes, row.blocks);
  }
  std::printf("\n  }\n}\n");
}

}  // namespace

int main(int argc, char** argv) {
  const bool json = argc == 2 && std::string_view(argv[1]) == "--json";
  if (argc > 1 && !json) {
    const bool help = std::string_view(argv[1]) == "--help";
    std::fprintf(help ? stdout : stderr, "%susage: weir-sizes [--json]\n",
                 help ? "" : "error: no such option\n");
    return help ? 0 : 2;
  }
  rlimit limit{};
  if (::getrlimit(RLIMIT_NOFILE, &limit) == 0) {
    limit.rlim_cur = limit.rlim_max;
    ::setrlimit(RLIMIT_NOFILE, &limit);
  }
  std::vector<Row> heap;
  heap.reserve(16);  // growth would be counted
  measure_connections(heap);
  measure_loop(heap);
  measure_large_tasks(heap);
  const std::vector<Row> sizes = objects();
  (json ? print_json : print_table)(sizes, heap);
}
