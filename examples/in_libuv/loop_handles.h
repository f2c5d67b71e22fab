// LoopHandles: runs a weir::EventLoop on a libuv loop of the same thread, by three handles: for its
// epoll descriptor, for its next timer, and for the step before libuv polls.
#pragma once

#include <uv.h>

#include <functional>

#include "weir/net/reactor/event_loop.h"

namespace sample {

class LoopHandles {
 public:
  // `on_stop` is called after the turn in which EventLoop::stop() was called. Throws
  // weir::SystemError if libuv refuses a handle.
  LoopHandles(weir::EventLoop& loop, uv_loop_t& host, std::function<void()> on_stop);
  // Runs the libuv loop until the handles are closed; must not be called in a libuv callback.
  ~LoopHandles();
  LoopHandles(const LoopHandles&) = delete;
  LoopHandles& operator=(const LoopHandles&) = delete;

 private:
  void before_poll();
  void turn() noexcept;

  weir::EventLoop& loop_;
  uv_loop_t& host_;
  std::function<void()> on_stop_;
  uv_prepare_t prepare_{};
  uv_poll_t poll_{};
  uv_timer_t timer_{};
};

}  // namespace sample
