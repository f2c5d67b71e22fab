// libev's timers are watchers in memory of the program. Another thread can only wake libev, so
// posts go through a queue with a mutex, as described in ev(3), "Queueing".
#include <ev.h>

#include <chrono>
#include <memory>

#include "rivals/parts.h"
#include "rivals/parts_queue.h"

namespace parts {
namespace {

struct ev_loop* new_loop() {
  struct ev_loop* const loop = ev_loop_new(EVFLAG_AUTO);
  if (loop == nullptr) give_up("libev has no loop");
  return loop;
}

class LibevTimers final : public Timers {
 public:
  explicit LibevTimers(std::size_t places) : timers_(places) {
    for (ev_timer& timer : timers_) {
      ev_timer_init(&timer, &on_timer, 0.0, 0.0);
      timer.data = this;
    }
  }
  ~LibevTimers() override { ev_loop_destroy(loop_); }

  void set(std::span<const Place> places) override {
    for (const Place place : places) {
      ev_timer_set(&timers_[place], after_ += 1e-6, 0.0);
      ev_timer_start(loop_, &timers_[place]);
    }
  }
  std::uint64_t cancel(std::span<const Place> places) override {
    std::uint64_t were_set = 0;
    for (const Place place : places) {
      were_set += ev_is_active(&timers_[place]) ? 1u : 0u;
      ev_timer_stop(loop_, &timers_[place]);
    }
    return were_set;
  }

 private:
  static void on_timer(struct ev_loop*, ev_timer* timer, int) {
    ++static_cast<LibevTimers*>(timer->data)->ran_;
  }

  struct ev_loop* const loop_ = new_loop();
  std::vector<ev_timer> timers_;
  ev_tstamp after_ = std::chrono::duration<double>(kTimeout).count();
};

class LibevLoop final : public Loop {
 public:
  LibevLoop() {
    ev_async_init(&async_, &on_async);
    async_.data = this;
    ev_async_start(loop_, &async_);
  }
  ~LibevLoop() override {
    ev_async_stop(loop_, &async_);
    ev_loop_destroy(loop_);
  }

  void run() override { ev_run(loop_, 0); }
  void post(Posted first, std::uint32_t count) override {
    for (; count > 0; --count, ++first.number) {
      queue_.push(first);
      ev_async_send(loop_, &async_);
    }
  }
  void stop() override {
    queue_.push([this] { ev_break(loop_, EVBREAK_ALL); });
    ev_async_send(loop_, &async_);
  }

 private:
  static void on_async(struct ev_loop*, ev_async* async, int) {
    static_cast<LibevLoop*>(async->data)->queue_.run_all();
  }

  struct ev_loop* const loop_ = new_loop();
  GuardedQueue queue_;
  ev_async async_{};
};

}  // namespace

void add_libev(Catalog& catalog) {
  catalog.versions.push_back("libev " + std::to_string(ev_version_major()) + "." +
                             std::to_string(ev_version_minor()));
  catalog.timers.push_back(
      {"libev", "ev_timer_set() and ev_timer_start(), ev_timer_stop()",
       [](std::size_t places) { return std::make_unique<LibevTimers>(places); }});
  catalog.posts.push_back({"libev", "a queue with a mutex, ev_async_send()",
                           [] { return std::make_unique<LibevLoop>(); }});
}

}  // namespace parts
