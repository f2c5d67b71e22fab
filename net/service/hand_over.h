// Handing the listening sockets of a server over to its successor, so that a restart loses no
// connection. The two processes connect through a Unix path, the point. [loop]
//
//   old: HandOver offer(loop, server, std::move(point), [&] {
//          server.shutdown({.deadline = 30s, .grace = 20s, .leave_listeners = true}, end);
//        });
//   new: auto old = Predecessor::ask(path);            // waits; before loop.run()
//        server.listen(old->take_listeners());         // now both servers accept
//        old->take_over();                             // now only the new server accepts
//        HandOver offer(loop, server, old->take_point(), ...);
//
// The socket of the point is handed over with the others, so that a process always serves the
// point. If the successor dies, or does not answer for HandOver::kDeadline, the old server
// continues as before.
#pragma once

#include <atomic>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "weir/base/clock.h"
#include "weir/base/export.h"
#include "weir/base/result.h"
#include "weir/net/reactor/event_loop.h"
#include "weir/net/socket/listening_socket.h"
#include "weir/net/socket/socket.h"

namespace WEIR_EXPORT weir {

class TcpServer;

// Offers the listening sockets of `server`, which must outlive this object. Serves one successor at
// a time, and only processes of the same user or of root.
class HandOver {
 public:
  static constexpr Duration kDeadline = std::chrono::seconds(5);  // for one successor

  // Opens the point of a server without predecessor: a Unix path with permissions 0600.
  static Result<ListeningSocket> open_point(const std::string& path);

  // Calls `taken_over` once, when a successor has confirmed that it serves. The point is then
  // already closed; `taken_over` should call shutdown() with leave_listeners. It may destroy this
  // object.
  HandOver(EventLoop& loop, TcpServer& server, ListeningSocket point,
           std::move_only_function<void()> taken_over);
  ~HandOver();
  HandOver(const HandOver&) = delete;
  HandOver& operator=(const HandOver&) = delete;

 private:
  class WEIR_HIDDEN Impl;
  std::shared_ptr<Impl> impl_;
  EventLoop& loop_;
};

// The old server, as its successor sees it. The calls block, for at most `deadline`: use them
// before the loop runs.
class Predecessor {
 public:
  // Gets the sockets of the process that serves the point at `path`. nullopt if no process does.
  static Result<std::optional<Predecessor>> ask(const std::string& path,
                                                Duration deadline = HandOver::kDeadline);

  // Call each once. Until take_over() the old server also accepts from these sockets.
  std::vector<ListeningSocket> take_listeners() { return std::move(listeners_); }
  ListeningSocket take_point() { return std::move(point_); }

  // Confirms that this process serves, and waits until the old server releases the sockets. Then
  // the sockets and the files of Unix paths belong to this process. After an error the old server
  // continues, if it is still alive.
  Result<void> take_over(Duration deadline = HandOver::kDeadline);

 private:
  explicit Predecessor(Socket socket) : socket_(std::move(socket)) {}
  Result<void> receive_offer(TimePoint deadline);

  Socket socket_;
  ListeningSocket point_;
  std::vector<ListeningSocket> listeners_;
  std::shared_ptr<std::atomic<bool>> files_are_ours_ = std::make_shared<std::atomic<bool>>(false);
};

}  // namespace weir
