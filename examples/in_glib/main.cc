// weir-in-glib: an echo server on a weir loop that runs inside a GLib main loop.
//
// GLib owns the thread and waits for events; weir reports how long GLib may wait (loop_source.cc).
// Neither wakes up without work. Connections, weir's timers and signals, and a GLib timer are
// served together.

#include <glib.h>

#include <chrono>
#include <csignal>
#include <cstdio>
#include <memory>
#include <string>
#include <vector>

#include "common/command_line.h"
#include "common/listening.h"
#include "in_glib/loop_source.h"
#include "weir/net/reactor/event_loop.h"
#include "weir/net/reactor/signal_set.h"
#include "weir/net/service/run_until_signal.h"
#include "weir/net/tcp/tcp_server.h"

namespace {

using MainLoop = std::unique_ptr<GMainLoop, decltype(&g_main_loop_unref)>;

// A GLib callback.
gboolean print_connections(gpointer server) {
  std::printf("%zu connections\n", static_cast<weir::TcpServer*>(server)->connection_count());
  std::fflush(stdout);
  return G_SOURCE_CONTINUE;
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

  const MainLoop main_loop(g_main_loop_new(nullptr, FALSE), g_main_loop_unref);
  const sample::LoopSource source(loop, [&] { g_main_loop_quit(main_loop.get()); });
  const auto ms = std::chrono::duration_cast<std::chrono::milliseconds>(tick).count();
  const guint timer =
      ms > 0 ? g_timeout_add(static_cast<guint>(ms), print_connections, &server) : 0;
  g_main_loop_run(main_loop.get());
  if (timer != 0) g_source_remove(timer);
  return 0;
}

}  // namespace

int main(int argc, char** argv) {
  std::vector<std::string> listen;
  weir::Duration tick = std::chrono::seconds(1);
  CLI::App app("An echo server on a weir loop inside a GLib main loop.", "weir-in-glib");
  sample::listen_option(app, listen);
  sample::seconds_option(app, "--tick", tick,
                         "between two lines that a GLib timer prints; 0: none");
  return sample::run(app, argc, argv, [&] { return serve(listen, tick); });
}
