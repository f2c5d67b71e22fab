#!/usr/bin/env python3
"""What base/mutex.h says of a mutex is checked by clang: code that is right compiles, and code that
forgets the lock does not. Skipped where there is no clang that knows weir's C++."""

import shutil
import subprocess
import sys
import unittest

INCLUDE = sys.argv.pop()  # the folder with weir/

CODE = """
#include "weir/base/mutex.h"
using namespace weir::internal;
class Box {
 public:
  void put(int value) { MutexLock lock(mutex_); write(value); }
  void wait() { MutexLock lock(mutex_); while (value_ == 0) changed_.wait(lock); }
  void by_turns() { MutexLock lock(mutex_); lock.unlock(); lock.lock(); write(1); }
  void wrong() { %s }
 private:
  void write(int value) WEIR_REQUIRES(mutex_) { value_ = value; changed_.notify_all(); }
  Mutex mutex_;
  Condition changed_;
  int value_ WEIR_GUARDED_BY(mutex_) = 0;
};
int main() { Box box; box.put(1); box.wait(); box.by_turns(); box.wrong(); }
"""


def compile_with(clang, line):
    command = [clang, "-x", "c++", "-std=c++23", "-fsyntax-only", "-Werror=thread-safety",
               "-I", INCLUDE, "-"]
    return subprocess.run(command, input=CODE % line, text=True, capture_output=True, check=False)


def find_clang():
    for name in ("clang++-19", "clang++"):
        if shutil.which(name) and compile_with(name, "").returncode == 0:
            return name
    return None


class ThreadSafetyTest(unittest.TestCase):
    def test_a_forgotten_lock_is_an_error(self):
        clang = find_clang()
        if clang is None:
            sys.exit(77)
        for line in (
            "value_ = 1;",
            "write(1);",
            "MutexLock lock(mutex_); lock.unlock(); value_ = 1;",
            "MutexLock lock(mutex_); MutexLock again(mutex_);",
            "mutex_.lock();",
        ):
            result = compile_with(clang, line)
            self.assertNotEqual(result.returncode, 0, line)
            self.assertIn("thread-safety", result.stderr, line)


if __name__ == "__main__":
    unittest.main()
