// bench-libev: libev reports readiness, the program does the I/O with its own buffers (ev(3):
// "libev ... does not do any I/O itself"). One ev_io for each connection, changed only when the
// socket takes no more bytes.
#include <ev.h>

#include "rivals/own_buffers.h"
#include "rivals/settings.h"

namespace {

class Connection final : public rival::OwnBuffers {
 public:
  Connection(rival::Crowd& crowd, struct ev_loop* loop, int fd)
      : OwnBuffers(crowd, fd), loop_(loop) {
    ev_io_init(&io_, &on_ready, fd, EV_READ);
    io_.data = this;
    ev_io_start(loop_, &io_);
  }
  ~Connection() override { ev_io_stop(loop_, &io_); }

 private:
  static void on_ready(struct ev_loop* loop, ev_io* io, int) {
    static_cast<Connection*>(io->data)->ready();
    auto& crowd = *static_cast<rival::Crowd*>(ev_userdata(loop));
    if (!crowd.dead.empty()) crowd.bury();
  }

  void watch(Interest interest) override {
    ev_io_stop(loop_, &io_);
    if (interest == Interest::none) return;
    ev_io_set(&io_, fd(), interest == Interest::read ? EV_READ : EV_WRITE);
    ev_io_start(loop_, &io_);
  }

  struct ev_loop* const loop_;
  ev_io io_{};
};

class Server {
 public:
  Server(struct ev_loop* loop, const rival::Settings& settings)
      : loop_(loop), crowd_(settings, rival::kBlock, false) {
    ev_set_userdata(loop, &crowd_);
    const int listener = rival::listen_on(settings);
    ev_io_init(&accept_, &on_accept, listener, EV_READ);
    ev_timer_init(&back_off_, &on_back_off, rival::kBackOffMs / 1000.0, 0.0);
    accept_.data = back_off_.data = this;
    ev_io_start(loop, &accept_);
    ev_signal_init(&terminate_, &on_signal, SIGTERM);
    ev_signal_init(&interrupt_, &on_signal, SIGINT);
    ev_signal_start(loop, &terminate_);
    ev_signal_start(loop, &interrupt_);
    rival::announce(listener);
  }

 private:
  static void on_accept(struct ev_loop* loop, ev_io* io, int) {
    auto& server = *static_cast<Server*>(io->data);
    // The Crowd owns the connection.
    const auto adopt = [&](int fd) { new Connection(server.crowd_, loop, fd); };
    if (rival::accept_some(io->fd, adopt)) return;
    ev_io_stop(loop, io);
    ev_timer_set(&server.back_off_, rival::kBackOffMs / 1000.0, 0.0);
    ev_timer_start(loop, &server.back_off_);
  }

  static void on_back_off(struct ev_loop* loop, ev_timer* timer, int) {
    ev_io_start(loop, &static_cast<Server*>(timer->data)->accept_);
  }

  static void on_signal(struct ev_loop* loop, ev_signal*, int) { ev_break(loop, EVBREAK_ALL); }

  struct ev_loop* const loop_;
  rival::Crowd crowd_;
  ev_io accept_{};
  ev_timer back_off_{};
  ev_signal terminate_{};
  ev_signal interrupt_{};
};

int serve(const rival::Settings& settings) {
  struct ev_loop* const loop = ev_default_loop(0);
  if (loop == nullptr) rival::give_up("libev has no loop", 0);
  Server server(loop, settings);
  ev_run(loop, 0);
  return 0;
}

}  // namespace

int main(int argc, char** argv) { return rival::run(argc, argv, "libev", serve); }
