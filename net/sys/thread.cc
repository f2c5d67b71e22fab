#include "weir/net/sys/thread.h"

#include <memory>

#include "weir/base/check.h"
#include "weir/net/sys/sys.h"

namespace weir::internal::sys {

namespace {

struct Start {
  std::string name;
  SysTable* table;
  Thread::Body body;
};

void* run(void* argument) noexcept {
  const std::unique_ptr<Start> start(static_cast<Start*>(argument));
  ::pthread_setname_np(::pthread_self(), start->name.c_str());
  exchange_table(start->table);
  start->body();
  return nullptr;
}

}  // namespace

SysResult<Thread> Thread::start(const char* name, Body body) {
  auto start = std::make_unique<Start>(name, &table(), std::move(body));
  Thread thread;
  const int error = table().pthread_create(&thread.handle_, run, start.get());
  if (error != 0) return std::unexpected(Errno(error));
  static_cast<void>(start.release());  // now owned by the thread
  thread.joinable_ = true;
  return thread;
}

Thread& Thread::operator=(Thread&& other) noexcept {
  WEIR_CHECK(!joinable_, "Thread: replaced without having been joined");
  handle_ = other.handle_;
  joinable_ = std::exchange(other.joinable_, false);
  return *this;
}

Thread::~Thread() { WEIR_CHECK(!joinable_, "Thread: destroyed without having been joined"); }

void Thread::join() {
  WEIR_CHECK(joinable_, "Thread::join(): joined already, or never started");
  ::pthread_join(handle_, nullptr);
  joinable_ = false;
}

sigset_t change_signal_mask(int how, const sigset_t& signals) {
  sigset_t before{};
  table().pthread_sigmask(how, &signals, &before);
  return before;
}

sigset_t signal_mask() {
  sigset_t now{};
  table().pthread_sigmask(SIG_BLOCK, nullptr, &now);
  return now;
}

bool send_signal(pthread_t thread, int signal) { return table().pthread_kill(thread, signal) == 0; }

void at_fork(void (*before)(), void (*in_parent)(), void (*in_child)()) {
  static_cast<void>(::pthread_atfork(before, in_parent, in_child));
}

}  // namespace weir::internal::sys
