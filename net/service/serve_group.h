// ServeGroup: runs several servers in one process until a signal. [loop]
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

  // Listens on the addresses. `server` is a TcpServer, a UdpServer, or an object with the same
  // listen() and shutdown(); it must outlive run(). `deadline` is passed to its shutdown(). If an
  // address is invalid or cannot be bound, prints an error to standard error; run() then returns
  // immediately, and servers that are added later do not listen.
  template <typename Server>
  void add(Server& server, const std::vector<std::string>& addresses,
           Duration deadline = std::chrono::seconds(4)) {
    listen(addresses, [&server](const SocketAddress& one) { return server.listen(one); });
    add_bound({}, [&server, deadline](Done done) { server.shutdown(deadline, std::move(done)); });
  }
  // Adds a server that already listens, on `bound`. `end` ends it and calls its argument when it
  // has ended, on any thread.
  void add_bound(const std::vector<SocketAddress>& bound, std::move_only_function<void(Done)> end);

  // Sets a function that is called before the first server ends, for a last message to the clients.
  void on_stop(std::move_only_function<void()> fn) { on_stop_ = std::move(fn); }

  // Prints "listening on ADDRESS" for each address to standard output and runs the loop until
  // SIGINT or SIGTERM. Then ends all servers at the same time, and returns when all have ended. A
  // second signal ends the process immediately. For signals and threads see run_until_signal.h.
  //
  // Returns the exit status for main(): 0; 1 if a server cannot listen on an address; 2 if an
  // address is invalid. Throws the exceptions of EventLoop::run(). If on_stop or the end of a
  // server throws, the other servers are ended all the same, and the first such exception leaves
  // run() when all have ended.
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
  int failed_ = 0;  // if not 0, the result of run()
};

}  // namespace weir
