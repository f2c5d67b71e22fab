// serve(): runs a TcpServer or a UdpServer in main(), once its handlers are set. [loop]
//
//   weir::EventLoop loop;
//   weir::TcpServer server(loop);
//   server.on_data([](weir::TcpConnection& conn, weir::Buffer& in) { conn.send(in); });
//   return weir::serve(loop, server, {"127.0.0.1:7000"});
//
// serve() only uses public functions; a program with other needs can write its own.
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
  // The deadline of the server's shutdown() after SIGINT or SIGTERM. Service managers usually kill
  // a process that is still running after 5 to 10 s.
  Duration deadline = std::chrono::seconds(4);
  // Called before that shutdown, for a last message to the clients.
  std::move_only_function<void()> on_stop{};

  // The following options are for stream sockets. Datagram sockets are neither handed over nor
  // inherited: for a UdpServer, hand_over or inherit is a bug of the caller (CHECK), and `grace`
  // has no effect.

  // For a restart that loses no client: the Unix path through which this process takes the
  // listening sockets over from its predecessor, and later hands them over to its successor
  // (hand_over.h). Empty: no hand-over.
  std::string hand_over{};
  // After a successor has taken over, existing clients have this time to end by themselves; then
  // the `deadline` begins.
  Duration grace = std::chrono::seconds(20);
  // Listens on the sockets that a service manager has opened, if there are any
  // (inherited_sockets.h). Reads and unsets environment variables, which no other thread may use at
  // that time.
  bool inherit = false;
};

// Listens on the addresses (or, instead, on the sockets of a predecessor, or on inherited ones),
// prints "listening on ADDRESS" for each to standard output once all are ready, and runs the loop
// until SIGINT or SIGTERM. Then handles the data that has arrived and closes every connection in
// order. A second signal ends the process immediately with status 128 + its number; for signals see
// run_until_signal.h.
//
// Returns the exit status for main(): 0; 1 if it cannot listen on an address; 2 if an address is
// invalid. 1 and 2 come with a message on standard error. Throws the exceptions of
// EventLoop::run(). An exception of on_stop is rethrown after the server has ended.
int serve(EventLoop& loop, TcpServer& server, const std::vector<std::string>& addresses,
          ServeOptions options = {});

// The same for a UdpServer, which sends its queued datagrams before it closes.
int serve(EventLoop& loop, UdpServer& server, const std::vector<std::string>& addresses,
          ServeOptions options = {});

// The same for a server that already listens, on `bound`. Only `deadline` and `on_stop` have an
// effect.
int serve_bound(EventLoop& loop, TcpServer& server, const std::vector<SocketAddress>& bound,
                ServeOptions options = {});

}  // namespace weir
