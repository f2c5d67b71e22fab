// weir-in-libuv: an echo server on a weir loop that runs inside a libuv loop.
//
// libuv owns the thread and waits for events; weir reports how long libuv may wait
// (loop_handles.cc). Neither wakes up without work. Connections, weir's timers and signals, and a
// libuv timer are served together.

#include <uv.h>

#include <chrono>
#include <csignal>
#include <cstdint>
#include <cstdio>
#include <string>
#include <vector>

#include "common/command_line.h"
#include "common/listening.h"
#include "in_libuv/loop_handles.h"
#include "weir/net/reactor/event_loop.h"
#include "weir/net/reactor/signal_set.h"
#include "weir/net/service/run_until_signal.h"
#include "weir/net/tcp/tcp_server.h"

namespace {

// A libuv callback.
void print_connections(uv_timer_t* timer) {
  const auto& server = *static_cast<const weir::TcpServer*>(timer->data);
  std::printf("%zu connections\n", server.connection_count());
  std::fflush(stdout);
}

int serve(const std::vector<std::string>& addresses, weir::Duration tick) {
  const auto parsed = weir::parse_addresses(addresses);
  if (!parsed) return 2;
  weir::EventLoop loop;
  weir::TcpServer server(loop);
  server.on_data([](weir::TcpConnection& conn, weir::Buffer& in) { conn.send(in); });
  const weir::SignalSet signals(loop, {SIGINT, SIGTERM}, [&](int) {
    server.shutdown(std::chrono::seconds(4), [&] { loop.stop(); });
  });
  sample::listen_on(server, *parsed);

  uv_loop_t& host = *uv_default_loop();
  uv_timer_t timer;
  uv_timer_init(&host, &timer);
  timer.data = &server;
  const auto ms = std::chrono::duration_cast<std::chrono::milliseconds>(tick).count();
  if (ms > 0) {
    const auto period = static_cast<std::uint64_t>(ms);
    uv_timer_start(&timer, print_connections, period, period);
  }
  {
    const sample::LoopHandles handles(loop, host, [&] { uv_stop(&host); });
    uv_run(&host, UV_RUN_DEFAULT);
    uv_close(reinterpret_cast<uv_handle_t*>(&timer), nullptr);
  }
  uv_loop_close(&host);
  return 0;
}

}  // namespace

int main(int argc, char** argv) {
  std::vector<std::string> listen;
  weir::Duration tick = std::chrono::seconds(1);
  CLI::App app("An echo server on a weir loop inside a libuv loop.", "weir-in-libuv");
  sample::listen_option(app, listen);
  sample::seconds_option(app, "--tick", tick,
                         "between two lines that a libuv timer prints; 0: none");
  return sample::run(app, argc, argv, [&] { return serve(listen, tick); });
}
