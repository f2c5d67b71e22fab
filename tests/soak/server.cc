#include "soak/server.h"

#include <fmt/format.h>
#include <sys/prctl.h>

#include <array>
#include <chrono>
#include <csignal>
#include <cstdio>
#include <memory>

#include "support/flow.h"
#include "support/memory.h"
#include "support/process_state.h"
#include "weir/net/reactor/event_loop.h"
#include "weir/net/reactor/internal/loop_core.h"
#include "weir/net/service/serve.h"
#include "weir/net/stream/buffer_budget.h"
#include "weir/net/sys/sys.h"
#include "weir/net/tcp/tcp_server.h"

namespace weir::test::soak {
namespace {

using namespace std::chrono_literals;

// A wall clock that jumps by hours at each reading, forwards and backwards.
class JumpingClock : public internal::SysTable {
 public:
  int clock_gettime(clockid_t clock, timespec* time) override {
    const int result = internal::SysTable::clock_gettime(clock, time);
    if (clock == CLOCK_REALTIME || clock == CLOCK_REALTIME_COARSE) {
      forwards_ = !forwards_;
      time->tv_sec += forwards_ ? 7200 : -7200;
    }
    return result;
  }

 private:
  bool forwards_ = false;
};

class Session : public ConnectionHandler {
 public:
  explicit Session(std::uint64_t& corrupted) : corrupted_(corrupted) {}

  void on_data(TcpConnection& connection, Buffer& in) override {
    if (!request_) {
      const auto number = number_in(in);
      if (!number) return;
      in.consume(kHeader);
      request_.emplace(request_flow(*number));
      answer_.emplace(answer_flow(*number));
    }
    const std::size_t size = in.size();
    request_->take(in.view());
    in.clear();
    if (size > 0) connection.send(answer_->next(size));
  }
  void on_close(TcpConnection& /*connection*/, CloseReason /*reason*/) override {
    if (request_ && !request_->intact()) ++corrupted_;
  }

 private:
  std::uint64_t& corrupted_;
  std::optional<Flow> request_;
  std::optional<Flow> answer_;
};

TcpServer::Options options_of(const Settings& settings) {
  TcpServer::Options options;
  options.idle_timeout = settings.scaled(60s);
  options.first_byte_timeout = settings.scaled(30s);
  options.message_timeout = settings.scaled(30s);
  options.write_stall_timeout = settings.scaled(60s);
  options.drain_timeout = settings.scaled(30s);
  options.linger_timeout = settings.scaled(5s);
  options.high_water = 64 * 1024;
  options.max_output = 1024 * 1024;
  options.send_buffer = 32 * 1024;  // so that output is queued in weir, not in the kernel
  options.receive_buffer = 32 * 1024;
  return options;
}

}  // namespace

std::string Sample::line() const {
  return fmt::format("sample {} {} {} {} {} {} {} {}", memory, descriptors, connections, timers,
                     tasks, buffered, served, corrupted);
}

std::optional<Sample> Sample::parse(const std::string& line) {
  std::array<unsigned long, 8> n{};
  if (std::sscanf(line.c_str(), "sample %lu %lu %lu %lu %lu %lu %lu %lu", &n[0], &n[1], &n[2],
                  &n[3], &n[4], &n[5], &n[6], &n[7]) != 8) {
    return std::nullopt;
  }
  return Sample{n[0], n[1], n[2], n[3], n[4], n[5], n[6], n[7]};
}

Sample take_sample(const EventLoop& loop) {
  Sample sample;
  sample.memory = static_cast<std::uint64_t>(resident_memory());
  sample.descriptors = open_descriptors().size();
  sample.timers = internal::LoopCore::of(loop).timers().size();
  sample.tasks = loop.backlog();
  sample.buffered = buffered_bytes();
  return sample;
}

namespace {

int serve_loop(const ServerSettings& settings, Sample& last) {
  EventLoop loop;
  std::uint64_t corrupted = 0;
  TcpServer::Options options = options_of(settings.common);
  if (!settings.point.empty()) options.trigger = Trigger::edge;  // the steady one has the other
  TcpServer server(loop, options);
  server.handlers_per_connection(
      [&](TcpConnection&) { return std::make_unique<Session>(corrupted); });
  const auto sample = [&] {
    Sample now = take_sample(loop);
    now.connections = server.connection_count();
    now.served = server.stats().accepted;
    now.corrupted = corrupted;
    return now;
  };
  const auto print = [&] {
    const Sample now = sample();
    if (now.memory == 0) return;  // in a squeeze there is no descriptor to read it with
    fmt::print("{}\n", now.line());
    std::fflush(stdout);
  };
  const TimerId timer = loop.run_every(settings.period, print);
  const int status = serve(loop, server, {"127.0.0.1:0"},
                           {.deadline = 1s, .hand_over = settings.point, .grace = 2s});
  loop.cancel(timer);
  last = sample();
  return status;
}

}  // namespace

int run_server(const ServerSettings& settings) {
  ::prctl(PR_SET_PDEATHSIG, SIGKILL);  // it does not outlive the soak, however that ends
  JumpingClock clock;
  const internal::sys::ScopedTable scope(&clock);
  const auto before = open_descriptors();
  Sample last;
  const int status = serve_loop(settings, last);
  last.descriptors = open_descriptors().size();
  fmt::print("{}\n", last.line());
  std::fflush(stdout);
  if (status != 0) return status;
  const bool back = last.descriptors == before.size() && last.connections == 0 &&
                    last.timers == 0 && last.tasks == 0 && last.buffered == 0;
  if (!back) {
    fmt::print(stderr, "soak server: not all is back: {}; {} descriptors before\n", last.line(),
               before.size());
    for (const auto& [fd, link] : open_descriptors()) {
      if (!before.contains(fd)) fmt::print(stderr, "  open: {} {}\n", fd, link);
    }
  }
  return back && last.corrupted == 0 ? 0 : 1;
}

}  // namespace weir::test::soak
