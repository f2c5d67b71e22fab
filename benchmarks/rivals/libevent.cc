#include "rivals/libevent.h"

#include <cerrno>
#include <csignal>
#include <utility>

namespace rival {

Libevent::Libevent(const Settings& settings, std::function<void(evutil_socket_t)> adopt)
    : adopt_(std::move(adopt)), base_(event_base_new()) {
  if (base_ == nullptr) give_up("libevent has no base", 0);
  listener_ = evconnlistener_new_bind(
      base_, &on_accept, this, LEV_OPT_CLOSE_ON_FREE | LEV_OPT_CLOSE_ON_EXEC | LEV_OPT_REUSEABLE,
      kBacklog, reinterpret_cast<const sockaddr*>(&settings.listen), sizeof settings.listen);
  if (listener_ == nullptr) give_up("listen", errno);
  evconnlistener_set_error_cb(listener_, &on_accept_error);
  set_no_delay(evconnlistener_get_fd(listener_));
  back_off_ = evtimer_new(base_, &on_back_off, this);
  for (const int signal : {SIGTERM, SIGINT}) {
    event_add(evsignal_new(base_, signal, &on_signal, this), nullptr);
  }
}

void Libevent::run() {
  announce(evconnlistener_get_fd(listener_));
  event_base_dispatch(base_);
}

void Libevent::on_accept(evconnlistener*, evutil_socket_t fd, sockaddr*, int, void* self) {
  static_cast<Libevent*>(self)->adopt_(fd);
}

void Libevent::on_accept_error(evconnlistener* listener, void* self) {
  evconnlistener_disable(listener);
  const timeval soon{.tv_sec = 0, .tv_usec = kBackOffMs * 1000};
  event_add(static_cast<Libevent*>(self)->back_off_, &soon);
}

void Libevent::on_back_off(evutil_socket_t, short, void* self) {
  evconnlistener_enable(static_cast<Libevent*>(self)->listener_);
}

void Libevent::on_signal(evutil_socket_t, short, void* self) {
  event_base_loopbreak(static_cast<Libevent*>(self)->base_);
}

}  // namespace rival
