// LoopSource: a weir::EventLoop as a GSource of the GLib main context of its thread.
#pragma once

#include <glib.h>

#include <functional>

#include "weir/net/reactor/event_loop.h"

namespace sample {

class LoopSource {
 public:
  // Attaches to the thread's default context; on the loop's thread. `on_stop` is called after the
  // turn in which EventLoop::stop() was called.
  LoopSource(weir::EventLoop& loop, std::function<void()> on_stop);
  ~LoopSource();
  LoopSource(const LoopSource&) = delete;
  LoopSource& operator=(const LoopSource&) = delete;

 private:
  struct Source;  // GLib allocates it

  static gboolean prepare(GSource* source, gint* timeout);
  static gboolean check(GSource* source);
  static gboolean dispatch(GSource* source, GSourceFunc, gpointer) noexcept;

  Source* source_;
  std::function<void()> on_stop_;
};

}  // namespace sample
