// Shared by both servers on libevent: a base, a listener that backs off (libevent book, "Connection
// listeners"), and the end on SIGTERM.
#pragma once

#include <event2/event.h>
#include <event2/listener.h>
#include <event2/util.h>

#include <functional>

#include "rivals/settings.h"

namespace rival {

class Libevent {
 public:
  // Calls `adopt`, which takes ownership, with each accepted socket.
  Libevent(const Settings& settings, std::function<void(evutil_socket_t)> adopt);

  event_base* base() const { return base_; }
  // Runs until SIGTERM or SIGINT.
  void run();

 private:
  static void on_accept(evconnlistener*, evutil_socket_t fd, sockaddr*, int, void* self);
  static void on_accept_error(evconnlistener*, void* self);
  static void on_back_off(evutil_socket_t, short, void* self);
  static void on_signal(evutil_socket_t, short, void* self);

  const std::function<void(evutil_socket_t)> adopt_;
  event_base* const base_;
  evconnlistener* listener_ = nullptr;
  event* back_off_ = nullptr;
};

}  // namespace rival
