// serve(): what main() does with a TcpServer or a UdpServer once its handlers are set. [loop]
//
//   weir::EventLoop loop;
//   weir::TcpServer server(loop);
//   server.on_data([](weir::TcpConnection& conn, weir::Buffer& in) { conn.send(in); });
//   return weir::serve(loop, server, {"127.0.0.1:7000"});
//
// All of it is made of public parts; a program that wants it otherwise writes its own.
#pragma once

#include <chrono>
#include <functional>
#include <string>
#include <vector>

#include "weir/base/clock.h"
#include "weir/base/export.h"
#include "weir/net/reactor/event_loop.h"
#include "weir/net/socket/socket_address.h"

namespace WEIR_EXPORT weir {

class TcpServer;
class UdpServer;

struct ServeOptions {
  // After SIGINT or SIGTERM: the deadline of the server's shutdown(). Service managers usually kill
  // a process that is still running after 5 to 10 s.
  Duration deadline = std::chrono::seconds(4);
  // Called before that shutdown, for a last message to the clients.
  std::move_only_function<void()> on_stop{};

  // The rest is for stream sockets. Datagram sockets are neither handed over nor inherited: serve()
  // with a UdpServer ends the program if hand_over or inherit is set, and `grace` has no effect.

  // A restart that loses no client: the Unix path where the process that serves hands its listening
  // sockets over to the next one of its program (hand_over.h). Empty: there is no such place.
  std::string hand_over{};
  // After its successor has taken over, the clients that are there have so long to end by
  // themselves; then the `deadline` begins.
  Duration grace = std::chrono::seconds(20);
  // Listens on the sockets that a service manager has opened, if there are any
  // (inherited_sockets.h). Reads and unsets environment variables, which no other thread may use
  // meanwhile.
  bool inherit = false;
};

// Listens on the addresses (or instead of them: on the sockets of a predecessor, or on inherited
// ones), prints "listening on ADDRESS" for each to standard output once all are ready, and runs the
// loop until SIGINT or SIGTERM; then serves what has arrived and closes every
// connection in order. A second signal ends the process at once, with 128 + its number. Returns
// what main() returns: 0; 1 when an address cannot be had, 2 when a text is none, each with a
// sentence on standard error. Throws what EventLoop::run() throws; what on_stop throws leaves it
// when the server is over. For signals see run_until_signal.h.
int serve(EventLoop& loop, TcpServer& server, const std::vector<std::string>& addresses,
          ServeOptions options = {});

// For a UdpServer, which sends what waits before it closes. The same otherwise.
int serve(EventLoop& loop, UdpServer& server, const std::vector<std::string>& addresses,
          ServeOptions options = {});

// The same for a server that listens already, on `bound`; of the options it heeds the first two.
int serve_bound(EventLoop& loop, TcpServer& server, const std::vector<SocketAddress>& bound,
                ServeOptions options = {});

}  // namespace weir
