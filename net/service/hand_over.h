// Handing the listening sockets of a server over to its successor, so that a restart loses no
// connection. The two processes meet at a Unix path, the point. [loop]
//
//   old: HandOver offer(loop, server, std::move(point), [&] {
//          server.shutdown({.deadline = 30s, .grace = 20s, .leave_listeners = true}, end);
//        });
//   new: auto old = Predecessor::ask(path);            // waits; before loop.run()
//        server.listen(old->take_listeners());         // both accept now
//        old->take_over();                             // now only the new one does
//        HandOver offer(loop, server, old->take_point(), ...);
//
// The point's socket is handed over with the others, so that there is always somebody to ask. A
// successor that dies, or says nothing for HandOver::kDeadline, changes nothing for the old server.
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

// Offers the listening sockets of `server`, which must outlive this. One successor at a time; only
// processes of the same user, or of root, are served.
class HandOver {
 public:
  static constexpr Duration kDeadline = std::chrono::seconds(5);  // for one successor

  // The point of a server without predecessor: a Unix path with permissions 0600.
  static Result<ListeningSocket> open_point(const std::string& path);

  // `taken_over` is called once, when a successor has said that it serves. The point is closed by
  // then; what is left to do is a shutdown() with leave_listeners. It may destroy this.
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

// The successor's end. The calls wait, but not for long: use them before the loop runs.
class Predecessor {
 public:
  // What the process that serves the point at `path` hands out; nothing if nobody does.
  static Result<std::optional<Predecessor>> ask(const std::string& path,
                                                Duration deadline = HandOver::kDeadline);

  // Each once. Until take_over() the old server accepts from them too.
  std::vector<ListeningSocket> take_listeners() { return std::move(listeners_); }
  ListeningSocket take_point() { return std::move(point_); }

  // Says that this process serves, and waits until the old one lets go: then the sockets, and the
  // files of Unix paths, are ours. After an error the old server goes on, if it is still alive.
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
