// libevent's timers are events in memory of the program. It has a heap for timeouts of any length,
// and a list for many timeouts of one length. Outside its loop it reads the clock for each timer,
// so they are set in a callback. Other threads push to a queue with a mutex and activate an event.
#include <event2/event.h>
#include <event2/event_struct.h>
#include <event2/thread.h>

#include <chrono>
#include <memory>

#include "rivals/parts.h"
#include "rivals/parts_queue.h"

namespace parts {
namespace {

// Without locks: no thread posts to it.
event_base* new_base_of_one_thread() {
  event_config* const config = event_config_new();
  event_config_set_flag(config, EVENT_BASE_FLAG_NOLOCK);
  event_base* const base = event_base_new_with_config(config);
  event_config_free(config);
  if (base == nullptr) give_up("libevent has no base");
  return base;
}

enum class Kept : std::uint8_t { in_heap, in_list };

template <Kept kept>
class LibeventTimers final : public Timers {
 public:
  explicit LibeventTimers(std::size_t places) : events_(places) {
    for (event& one : events_) evtimer_assign(&one, base_, &on_timer, this);
    const timeval length = timeval_of(kTimeout);
    common_ = event_base_init_common_timeout(base_, &length);
    if (common_ == nullptr) give_up("libevent has no common timeout");
  }
  ~LibeventTimers() override { event_base_free(base_); }

  void within(const std::function<void()>& work) override {
    const auto call = [](evutil_socket_t, short, void* it) {
      (*static_cast<const std::function<void()>*>(it))();
    };
    const timeval now{};
    if (event_base_once(base_, -1, EV_TIMEOUT, call, const_cast<std::function<void()>*>(&work),
                        &now) != 0 ||
        event_base_loop(base_, EVLOOP_ONCE) < 0) {
      give_up("libevent did not run");
    }
  }

  void set(std::span<const Place> places) override {
    if constexpr (kept == Kept::in_list) {
      event_base_update_cache_time(base_);
      for (const Place place : places) event_add(&events_[place], common_);
    } else {
      for (const Place place : places) {
        const timeval after = timeval_of(after_ += std::chrono::microseconds(1));
        event_add(&events_[place], &after);
      }
    }
  }
  std::uint64_t cancel(std::span<const Place> places) override {
    std::uint64_t were_set = 0;
    for (const Place place : places) {
      event& one = events_[place];
      were_set += (one.ev_evcallback.evcb_flags & EVLIST_TIMEOUT) != 0 ? 1u : 0u;
      event_del(&one);
    }
    return were_set;
  }

 private:
  static timeval timeval_of(std::chrono::microseconds time) {
    return {.tv_sec = time.count() / 1'000'000, .tv_usec = time.count() % 1'000'000};
  }
  static void on_timer(evutil_socket_t, short, void* self) {
    ++static_cast<LibeventTimers*>(self)->ran_;
  }

  event_base* const base_ = new_base_of_one_thread();
  std::vector<event> events_;
  const timeval* common_ = nullptr;
  std::chrono::microseconds after_ = kTimeout;
};

class LibeventLoop final : public Loop {
 public:
  LibeventLoop() {
    if (base_ == nullptr) give_up("libevent has no base");
    event_ = event_new(base_, -1, 0, &on_event, this);
    if (event_ == nullptr) give_up("libevent has no event");
  }
  ~LibeventLoop() override {
    event_free(event_);
    event_base_free(base_);
  }

  void run() override { event_base_loop(base_, EVLOOP_NO_EXIT_ON_EMPTY); }
  void post(Posted first, std::uint32_t count) override {
    for (; count > 0; --count, ++first.number) {
      queue_.push(first);
      event_active(event_, 0, 0);
    }
  }
  void stop() override {
    queue_.push([this] { event_base_loopbreak(base_); });
    event_active(event_, 0, 0);
  }

 private:
  static void on_event(evutil_socket_t, short, void* self) {
    static_cast<LibeventLoop*>(self)->queue_.run_all();
  }

  event_base* const base_ = event_base_new();
  GuardedQueue queue_;
  event* event_ = nullptr;
};

}  // namespace

void add_libevent(Catalog& catalog) {
  const std::string version = event_get_version();
  // libev has functions of the same names, which would be called if it were linked first.
  if (!version.starts_with("2.")) give_up("libevent's calls go to libev " + version);
  if (evthread_use_pthreads() != 0) give_up("libevent has no threads");
  catalog.versions.push_back("libevent " + version);
  catalog.timers.push_back(
      {"libevent", "event_add() from a callback, event_del()",
       [](std::size_t places) { return std::make_unique<LibeventTimers<Kept::in_heap>>(places); }});
  catalog.timers.push_back(
      {"libevent, common timeout",
       "the same with event_base_init_common_timeout(): all timeouts must be equal",
       [](std::size_t places) { return std::make_unique<LibeventTimers<Kept::in_list>>(places); }});
  catalog.posts.push_back({"libevent", "a queue with a mutex, event_active()",
                           [] { return std::make_unique<LibeventLoop>(); }});
}

}  // namespace parts
