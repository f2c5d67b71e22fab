// ServeGroup: several servers in one process, run until a signal. [loop]
//
//   weir::ServeGroup group(loop);
//   group.add(echo, {"0.0.0.0:7000"});                           // a TcpServer
//   group.add(admin, {"unix:/run/echo.admin"}, std::chrono::seconds(1));
//   group.add(time, {"0.0.0.0:7000"});                           // a UdpServer
//   return group.run();
#pragma once

#include <chrono>
#include <cstddef>
#include <functional>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "weir/base/call_all.h"
#include "weir/base/clock.h"
#include "weir/base/export.h"
#include "weir/base/result.h"
#include "weir/net/reactor/event_loop.h"
#include "weir/net/socket/socket_address.h"

namespace WEIR_EXPORT weir {

class ServeGroup {
 public:
  using Done = std::move_only_function<void()>;

  explicit ServeGroup(EventLoop& loop) : loop_(loop) {}
  ServeGroup(const ServeGroup&) = delete;
  ServeGroup& operator=(const ServeGroup&) = delete;

  // Listens on the addresses. `server` is a TcpServer, a UdpServer, or of another type with their
  // listen() and shutdown(), and must outlive run(). `deadline` is what its shutdown() is given. An
  // address that cannot be had, or a text that is none, is said on standard error; run() returns at
  // once then, and what is added behind it is not listened on.
  template <typename Server>
  void add(Server& server, const std::vector<std::string>& addresses,
           Duration deadline = std::chrono::seconds(4)) {
    listen(addresses, [&server](const SocketAddress& one) { return server.listen(one); });
    add_bound({}, [&server, deadline](Done done) { server.shutdown(deadline, std::move(done)); });
  }
  // What listens already, on `bound`, and is ended by `end`, which calls its argument when that is
  // over, on any thread.
  void add_bound(const std::vector<SocketAddress>& bound, std::move_only_function<void(Done)> end);

  // Called before the first server ends, for a last word to the clients.
  void on_stop(std::move_only_function<void()> fn) { on_stop_ = std::move(fn); }

  // Prints "listening on ADDRESS" for each to standard output and runs the loop until SIGINT or
  // SIGTERM; then ends all servers, at the same time, and returns when all are over. A second
  // signal ends the process at once. Returns what main() returns: 0; 1 when an address cannot be
  // had, 2 when a text is none. For signals and threads see run_until_signal.h.
  // Throws what EventLoop::run() throws. What on_stop or one server's end throws costs no other
  // server its end: the first such exception leaves run() when all are over.
  int run();

 private:
  void listen(const std::vector<std::string>& addresses,
              const std::function<Result<SocketAddress>(const SocketAddress&)>& listen_on);
  void end_all();

  struct End {
    std::move_only_function<void(Done)> begin;
    bool over = false;
  };
  void is_over(End& end);

  EventLoop& loop_;
  std::vector<SocketAddress> bound_;
  std::vector<std::shared_ptr<End>> ends_;
  std::move_only_function<void()> on_stop_;
  CallAll ending_;
  std::size_t running_ = 0;
  int failed_ = 0;  // what run() returns then
};

}  // namespace weir
