#include "in_glib/loop_source.h"

#include <algorithm>
#include <chrono>
#include <limits>
#include <utility>

namespace sample {

using weir::Duration;

struct LoopSource::Source {
  GSource base;  // first member, so a Source* is a GSource*, too
  LoopSource* self;
  weir::EventLoop* loop;
  gpointer fd;  // GLib's tag of the watched descriptor
};

namespace {

// In milliseconds, rounded up so that GLib never wakes up too early. -1: no timeout.
gint poll_timeout(Duration wait) {
  if (wait == Duration::max()) return -1;
  const auto ms = std::chrono::ceil<std::chrono::milliseconds>(wait).count();
  return static_cast<gint>(std::min<std::int64_t>(ms, std::numeric_limits<gint>::max()));
}

}  // namespace

LoopSource::LoopSource(weir::EventLoop& loop, std::function<void()> on_stop)
    : on_stop_(std::move(on_stop)) {
  static GSourceFuncs functions{prepare, check, dispatch, nullptr, nullptr, nullptr};
  const int fd = loop.poll_fd();
  source_ = reinterpret_cast<Source*>(g_source_new(&functions, sizeof(Source)));
  source_->self = this;
  source_->loop = &loop;
  source_->fd = g_source_add_unix_fd(&source_->base, fd, G_IO_IN);
  g_source_attach(&source_->base, g_main_context_get_thread_default());
}

LoopSource::~LoopSource() {
  g_source_destroy(&source_->base);
  g_source_unref(&source_->base);
}

// Before GLib polls: returns whether there is work now, and sets the longest time to sleep.
gboolean LoopSource::prepare(GSource* source, gint* timeout) {
  const Duration wait = reinterpret_cast<Source*>(source)->loop->max_wait();
  *timeout = poll_timeout(wait);
  return wait == Duration::zero();
}

// After GLib has polled: returns whether a descriptor is ready or a timer is due.
gboolean LoopSource::check(GSource* source) {
  const auto* own = reinterpret_cast<Source*>(source);
  return g_source_query_unix_fd(source, own->fd) != 0 || own->loop->max_wait() == Duration::zero();
}

// noexcept: an exception of a task ends the program, because it cannot pass through GLib, which is
// C.
gboolean LoopSource::dispatch(GSource* source, GSourceFunc, gpointer) noexcept {
  const auto* own = reinterpret_cast<Source*>(source);
  if (!own->loop->turn(Duration::zero())) own->self->on_stop_();
  return G_SOURCE_CONTINUE;
}

}  // namespace sample
