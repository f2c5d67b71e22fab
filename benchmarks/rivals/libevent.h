// What both servers on libevent need besides their connections: a base, a listener that backs off
// (libevent book, "Connection listeners"), an end on SIGTERM.
#pragma once

#include <event2/event.h>
#include <event2/listener.h>
#include <event2/util.h>

#include <functional>

#include "rivals/settings.h"

namespace rival {

class Libevent {
 public:
  // `adopt` is called with each socket that was accepted, and owns it.
  Libevent(const Settings& settings, std::function<void(evutil_socket_t)> adopt);

  event_base* base() const { return base_; }
  // Until SIGTERM or SIGINT.
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
