// libuv's timers are handles in memory of the program, with deadlines in whole milliseconds.
// Another thread can only wake libuv, so posts go through a queue with a mutex.
#include <uv.h>

#include <memory>

#include "rivals/parts.h"
#include "rivals/parts_queue.h"

namespace parts {
namespace {

void check(int result, const char* what) {
  if (result != 0) give_up(std::string(what) + ": " + uv_strerror(result));
}

// Closes the handles of the loop first.
void close_loop(uv_loop_t* loop) {
  const auto close = [](uv_handle_t* handle, void*) {
    if (uv_is_closing(handle) == 0) uv_close(handle, nullptr);
  };
  uv_walk(loop, close, nullptr);
  uv_run(loop, UV_RUN_DEFAULT);
  check(uv_loop_close(loop), "uv_loop_close");
}

class LibuvTimers final : public Timers {
 public:
  explicit LibuvTimers(std::size_t places) : timers_(places) {
    check(uv_loop_init(&loop_), "uv_loop_init");
    for (uv_timer_t& timer : timers_) {
      uv_timer_init(&loop_, &timer);
      timer.data = this;
    }
  }
  ~LibuvTimers() override { close_loop(&loop_); }

  void set(std::span<const Place> places) override {
    for (const Place place : places) {
      uv_timer_start(&timers_[place], &on_timer, ++after_us_ / 1000, 0);
    }
  }
  std::uint64_t cancel(std::span<const Place> places) override {
    std::uint64_t were_set = 0;
    for (const Place place : places) {
      uv_timer_t& timer = timers_[place];
      were_set += uv_is_active(reinterpret_cast<uv_handle_t*>(&timer)) != 0 ? 1u : 0u;
      uv_timer_stop(&timer);
    }
    return were_set;
  }

 private:
  static void on_timer(uv_timer_t* timer) { ++static_cast<LibuvTimers*>(timer->data)->ran_; }

  uv_loop_t loop_{};
  std::vector<uv_timer_t> timers_;
  std::uint64_t after_us_ = static_cast<std::uint64_t>(std::chrono::microseconds(kTimeout).count());
};

class LibuvLoop final : public Loop {
 public:
  LibuvLoop() {
    check(uv_loop_init(&loop_), "uv_loop_init");
    check(uv_async_init(&loop_, &async_, &on_async), "uv_async_init");
    async_.data = this;
  }
  ~LibuvLoop() override { close_loop(&loop_); }

  void run() override { uv_run(&loop_, UV_RUN_DEFAULT); }
  void post(Posted first, std::uint32_t count) override {
    for (; count > 0; --count, ++first.number) {
      queue_.push(first);
      uv_async_send(&async_);
    }
  }
  void stop() override {
    queue_.push([this] { uv_stop(&loop_); });
    uv_async_send(&async_);
  }

 private:
  static void on_async(uv_async_t* async) {
    static_cast<LibuvLoop*>(async->data)->queue_.run_all();
  }

  uv_loop_t loop_{};
  GuardedQueue queue_;
  uv_async_t async_{};
};

}  // namespace

void add_libuv(Catalog& catalog) {
  catalog.versions.push_back(std::string("libuv ") + uv_version_string());
  catalog.timers.push_back({"libuv", "uv_timer_start(), uv_timer_stop()", [](std::size_t places) {
                              return std::make_unique<LibuvTimers>(places);
                            }});
  catalog.posts.push_back({"libuv", "a queue with a mutex, uv_async_send()",
                           [] { return std::make_unique<LibuvLoop>(); }});
}

}  // namespace parts
