// bench-raw_epoll, bench-raw_epoll_coalesce, bench-raw_epoll_512k: plain epoll(7), level-triggered,
// without a framework. The baseline of the comparison.
//
// RIVAL_BLOCK: bytes per read. RIVAL_COALESCE: one write for all answers to a read.
#include <sys/epoll.h>
#include <sys/signalfd.h>

#include <array>
#include <chrono>
#include <csignal>
#include <optional>

#include "rivals/own_buffers.h"
#include "rivals/settings.h"

namespace {

using Clock = std::chrono::steady_clock;

class Connection final : public rival::OwnBuffers {
 public:
  Connection(rival::Crowd& crowd, int epoll, int fd) : OwnBuffers(crowd, fd), epoll_(epoll) {
    control(EPOLL_CTL_ADD, EPOLLIN);
  }

 private:
  void watch(Interest interest) override {
    // Closing the socket removes it from epoll.
    if (interest == Interest::none) return;
    control(EPOLL_CTL_MOD, interest == Interest::read ? EPOLLIN : EPOLLOUT);
  }

  void control(int operation, std::uint32_t events) {
    epoll_event event{.events = events, .data = {.ptr = this}};
    if (::epoll_ctl(epoll_, operation, fd(), &event) != 0) rival::give_up("epoll_ctl", errno);
  }

  const int epoll_;
};

class Server {
 public:
  explicit Server(const rival::Settings& settings)
      : crowd_(settings, RIVAL_BLOCK, RIVAL_COALESCE), listener_(rival::listen_on(settings)) {
    sigset_t signals;
    sigemptyset(&signals);
    sigaddset(&signals, SIGTERM);
    sigaddset(&signals, SIGINT);
    sigprocmask(SIG_BLOCK, &signals, nullptr);
    signals_ = ::signalfd(-1, &signals, SFD_NONBLOCK | SFD_CLOEXEC);
    if (signals_ < 0) rival::give_up("signalfd", errno);
    add(signals_, &signals_);
    add(listener_, &listener_);
  }

  void run() {
    rival::announce(listener_);
    std::array<epoll_event, 1024> events;
    for (;;) {
      const int n = ::epoll_wait(epoll_, events.data(), events.size(), wait_ms());
      if (n < 0 && errno != EINTR) rival::give_up("epoll_wait", errno);
      for (int i = 0; i < n; ++i) {
        void* const whose = events[static_cast<std::size_t>(i)].data.ptr;
        if (whose == &signals_) return;
        if (whose == &listener_) {
          accept();
        } else {
          static_cast<Connection*>(whose)->ready();
        }
      }
      // Only now, because a closed connection may have had a later event in the batch.
      if (!crowd_.dead.empty()) crowd_.bury();
    }
  }

 private:
  void add(int fd, void* whose) {
    epoll_event event{.events = EPOLLIN, .data = {.ptr = whose}};
    if (::epoll_ctl(epoll_, EPOLL_CTL_ADD, fd, &event) != 0) rival::give_up("epoll_ctl", errno);
  }

  void accept() {
    const auto adopt = [this](int fd) { new Connection(crowd_, epoll_, fd); };  // crowd_ owns it
    if (rival::accept_some(listener_, adopt)) return;
    ::epoll_ctl(epoll_, EPOLL_CTL_DEL, listener_, nullptr);
    accept_again_ = Clock::now() + std::chrono::milliseconds(rival::kBackOffMs);
  }

  // For epoll_wait: without limit, unless the listener must be watched again.
  int wait_ms() {
    if (!accept_again_) return -1;
    const auto left =
        std::chrono::duration_cast<std::chrono::milliseconds>(*accept_again_ - Clock::now());
    if (left.count() > 0) return static_cast<int>(left.count());
    accept_again_.reset();
    add(listener_, &listener_);
    return -1;
  }

  rival::Crowd crowd_;
  int listener_;
  int signals_ = -1;
  const int epoll_ = ::epoll_create1(EPOLL_CLOEXEC);
  std::optional<Clock::time_point> accept_again_;
};

int serve(const rival::Settings& settings) {
  Server(settings).run();
  return 0;
}

}  // namespace

int main(int argc, char** argv) { return rival::run(argc, argv, RIVAL_NAME, serve); }
