// A weir loop inside a GLib main loop.
#include <glib.h>

#include <chrono>

#include "embedded/embedded_cases.h"
#include "in_glib/loop_source.h"

namespace weir::test {
namespace {

// A context of the test's own: GLib never frees the default one.
class OwnContext {
 public:
  OwnContext() { g_main_context_push_thread_default(context_); }
  ~OwnContext() {
    g_main_context_pop_thread_default(context_);
    g_main_context_unref(context_);
  }
  OwnContext(const OwnContext&) = delete;
  OwnContext& operator=(const OwnContext&) = delete;
  GMainContext* get() const { return context_; }

 private:
  GMainContext* const context_ = g_main_context_new();
};

class GlibHost {
 public:
  explicit GlibHost(EventLoop& loop) : source_(loop, [this] { stopped = true; }) {}
  ~GlibHost() { set_tick(Duration::zero()); }
  GlibHost(const GlibHost&) = delete;
  GlibHost& operator=(const GlibHost&) = delete;

  void set_tick(Duration every) {
    if (timer_ != nullptr) {
      g_source_destroy(timer_);
      g_source_unref(timer_);
    }
    const auto ms = std::chrono::duration_cast<std::chrono::milliseconds>(every).count();
    timer_ = ms > 0 ? g_timeout_source_new(static_cast<guint>(ms)) : nullptr;
    if (timer_ == nullptr) return;
    g_source_set_callback(timer_, tick, this, nullptr);
    g_source_attach(timer_, context_.get());
  }
  void iterate() { g_main_context_iteration(context_.get(), TRUE); }

  int ticks = 0;
  bool stopped = false;

 private:
  static gboolean tick(gpointer self) {
    ++static_cast<GlibHost*>(self)->ticks;
    return G_SOURCE_CONTINUE;
  }

  const OwnContext context_;
  sample::LoopSource source_;
  GSource* timer_ = nullptr;
};

INSTANTIATE_TYPED_TEST_SUITE_P(Glib, Embedded, GlibHost);

}  // namespace
}  // namespace weir::test
