// Mutex, MutexLock and Condition: wrappers of the standard classes with attributes, by which clang
// checks at compile time that guarded data is used under its mutex (-Wthread-safety). For other
// compilers the attributes are empty.
//
//   Mutex mutex_;
//   std::vector<Task> tasks_ WEIR_GUARDED_BY(mutex_);
//   void take_all() WEIR_REQUIRES(mutex_);
#pragma once

#include "weir/base/requirements.h"

#include <condition_variable>
#include <mutex>

#include "weir/base/clock.h"

#ifdef __clang__
#define WEIR_THREAD_SAFETY(attribute) __attribute__((attribute))
#else
#define WEIR_THREAD_SAFETY(attribute)
#endif

// The variable is read and written only while that mutex is held.
#define WEIR_GUARDED_BY(mutex) WEIR_THREAD_SAFETY(guarded_by(mutex))
// The function is called only while that mutex is held.
#define WEIR_REQUIRES(mutex) WEIR_THREAD_SAFETY(requires_capability(mutex))
// For functions that the attributes cannot describe, such as those that lock around fork(2).
#define WEIR_UNCHECKED_LOCKS WEIR_THREAD_SAFETY(no_thread_safety_analysis)

namespace weir::internal {

class WEIR_THREAD_SAFETY(capability("mutex")) Mutex {
 public:
  constexpr Mutex() = default;
  Mutex(const Mutex&) = delete;
  Mutex& operator=(const Mutex&) = delete;

  void lock() WEIR_THREAD_SAFETY(acquire_capability()) { mutex_.lock(); }
  void unlock() WEIR_THREAD_SAFETY(release_capability()) { mutex_.unlock(); }

 private:
  friend class MutexLock;
  std::mutex mutex_;
};

// Holds a mutex for a scope, except between an unlock() and the next lock().
class WEIR_THREAD_SAFETY(scoped_lockable) MutexLock {
 public:
  explicit MutexLock(Mutex& mutex) WEIR_THREAD_SAFETY(acquire_capability(mutex))
      : lock_(mutex.mutex_) {}
  ~MutexLock() WEIR_THREAD_SAFETY(release_capability()) {}
  MutexLock(const MutexLock&) = delete;
  MutexLock& operator=(const MutexLock&) = delete;

  void lock() WEIR_THREAD_SAFETY(acquire_capability()) { lock_.lock(); }
  void unlock() WEIR_THREAD_SAFETY(release_capability()) { lock_.unlock(); }

 private:
  friend class Condition;
  std::unique_lock<std::mutex> lock_;
};

// Releases the mutex while it waits. A wait may end without a notification: test the condition in a
// loop.
class Condition {
 public:
  void wait(MutexLock& lock) { condition_.wait(lock.lock_); }
  // False: `end` has passed. TimePoint::max() means no time limit.
  bool wait_until(MutexLock& lock, TimePoint end) {
    if (end == (TimePoint::max)()) return wait(lock), true;
    return condition_.wait_until(lock.lock_, end) == std::cv_status::no_timeout;
  }
  void wait_for(MutexLock& lock, Duration time) { condition_.wait_for(lock.lock_, time); }
  void notify_one() { condition_.notify_one(); }
  void notify_all() { condition_.notify_all(); }

 private:
  std::condition_variable condition_;
};

}  // namespace weir::internal
