// bench-libevent_events: libevent's plain events report readiness, the program does the I/O with
// its own buffers. One persistent event for each connection; a second one, for writing, exists only
// while the socket takes no more bytes.
#include "rivals/libevent.h"
#include "rivals/own_buffers.h"
#include "rivals/settings.h"

namespace {

class Connection final : public rival::OwnBuffers {
 public:
  Connection(rival::Crowd& crowd, event_base* base, int fd)
      : OwnBuffers(crowd, fd),
        crowd_(crowd),
        base_(base),
        read_(event_new(base, fd, EV_READ | EV_PERSIST, &on_ready, this)) {
    event_add(read_, nullptr);
  }
  ~Connection() override {
    event_free(read_);
    if (write_ != nullptr) event_free(write_);
  }

 private:
  static void on_ready(evutil_socket_t, short, void* self) {
    auto& connection = *static_cast<Connection*>(self);
    rival::Crowd& crowd = connection.crowd_;
    connection.ready();
    if (!crowd.dead.empty()) crowd.bury();
  }

  void watch(Interest interest) override {
    if (interest == Interest::read) {
      event_add(read_, nullptr);
    } else {
      event_del(read_);
    }
    if (interest == Interest::write) {
      write_ = event_new(base_, fd(), EV_WRITE | EV_PERSIST, &on_ready, this);
      event_add(write_, nullptr);
    } else if (write_ != nullptr) {
      event_free(std::exchange(write_, nullptr));
    }
  }

  rival::Crowd& crowd_;
  event_base* const base_;
  event* const read_;
  event* write_ = nullptr;
};

int serve(const rival::Settings& settings) {
  rival::Crowd crowd(settings, rival::kBlock, false);
  event_base* base = nullptr;
  rival::Libevent libevent(settings, [&](int fd) { new Connection(crowd, base, fd); });
  base = libevent.base();
  libevent.run();
  return 0;
}

}  // namespace

int main(int argc, char** argv) { return rival::run(argc, argv, "libevent_events", serve); }
