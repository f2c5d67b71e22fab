#include "fuzz/protocol_target.h"

#include <algorithm>
#include <chrono>
#include <vector>

#include "fuzz/memory_streams.h"
#include "weir/base/check_format.h"
#include "weir/base/utf8.h"
#include "weir/net/reactor/event_loop.h"

namespace weir::fuzz {
namespace {

using namespace std::chrono_literals;

// The model has room for its bytes before it starts.
constexpr std::size_t kRoom = 64 * 1024;  // for the answers to one client
constexpr std::size_t kMostArriving = 256;

void settle(EventLoop& loop, const MemoryStreams& kernel) {
  constexpr int kTurns = 1000;
  for (int turn = 0; turn < kTurns; ++turn) {
    loop.turn(0ns);
    if (!kernel.has_events() && loop.max_wait() > 0ns) return;
  }
  WEIR_CHECK(false, "the loop does not come to rest");
}

void check_lines(std::string_view answer) {
  while (!answer.empty()) {
    const std::size_t end = answer.find('\n');
    WEIR_CHECK(end != answer.npos, "a line without an end");
    WEIR_CHECK(is_printable(answer.substr(0, end)), "not for a terminal: {}",
               answer.substr(0, end));
    answer.remove_prefix(end + 1);
  }
}

// Bytes of one client that arrive before those of the next part.
struct Part {
  std::size_t client = 0;
  std::string bytes;
};

std::vector<Part> parts_of(Script& script) {
  std::vector<Part> parts;
  while (!script.ended()) {
    const std::size_t client = script.byte() % kClients;
    parts.push_back({client, std::string(script.text(200))});
  }
  return parts;
}

// The same bytes, with a new part behind each line.
std::vector<Part> lines_of(const std::vector<Part>& parts) {
  std::vector<Part> lines;
  for (const Part& part : parts) {
    std::string_view rest = part.bytes;
    while (!rest.empty()) {
      const std::size_t size = std::min(rest.find('\n'), rest.size() - 1) + 1;
      lines.push_back({part.client, std::string(rest.substr(0, size))});
      rest.remove_prefix(size);
    }
  }
  return lines;
}

// The server sees pieces of at most `most` bytes.
Answers talk(const MakeHandler& make, const std::vector<Part>& parts, std::size_t most) {
  MemoryStreams kernel;
  const internal::sys::ScopedTable use(&kernel);
  EventLoop loop({.receive_block = 1024, .stall_threshold = 0ns});
  std::array<int, kClients> sockets{};
  Answers answers;
  {
    TcpServer server(loop);
    server.use_handler(make(server));
    for (int& fd : sockets) {
      fd = kernel.open_stream();
      kernel.stream(fd).incoming.reserve(kMostArriving);
      kernel.stream(fd).outgoing.reserve(kRoom);
      const auto taken = server.adopt(Fd(fd));
      WEIR_CHECK(taken, "{}", taken.error().message());
      settle(loop, kernel);
    }
    HeapMeter heap;
    std::size_t received = 0;
    const auto receive = [&](std::size_t client, std::string_view bytes) {
      if (kernel.stream(sockets[client]).closed) return;
      kernel.stream(sockets[client]).incoming += bytes;
      kernel.changed(sockets[client]);
      received += bytes.size();
      settle(loop, kernel);
      heap.check(received);
    };
    for (const Part& part : parts) {
      for (std::size_t at = 0; at < part.bytes.size(); at += most) {
        receive(part.client, std::string_view(part.bytes).substr(at, most));
      }
    }
    for (std::size_t i = 0; i < kClients; ++i) {
      kernel.stream(sockets[i]).fin = true;
      receive(i, "");
      answers[i] = kernel.stream(sockets[i]).outgoing;
      WEIR_CHECK(kernel.stream(sockets[i]).closed, "a connection outlives both ends of its stream");
    }
  }
  for (const std::string& answer : answers) check_lines(answer);
  return answers;
}

}  // namespace

Answers check_protocol(const MakeHandler& make, Script& script) {
  const std::size_t most = script.byte() % 16;
  const std::vector<Part> parts = parts_of(script);
  if (most == 0) return talk(make, parts, Buffer::npos);
  const std::vector<Part> lines = lines_of(parts);
  Answers whole = talk(make, lines, Buffer::npos);
  const Answers pieces = talk(make, lines, most);
  for (std::size_t i = 0; i < kClients; ++i) {
    WEIR_CHECK(whole[i] == pieces[i], "client {} gets\n{}\nand in pieces of {} bytes\n{}", i,
               whole[i], most, pieces[i]);
  }
  return whole;
}

}  // namespace weir::fuzz
