// The listener that fails a test that leaves open descriptors, threads or child processes, lets the
// heap grow, or logs warnings that it did not expect. main() installs it.
#pragma once

#include <gtest/gtest.h>

#include <map>
#include <string>

#include "support/allocations.h"

namespace weir::test {

class LeakCheck final : public ::testing::EmptyTestEventListener {
 public:
  // Time for threads that are ending, and for kernel objects that close late.
  static constexpr int kGraceMilliseconds = 3000;
  // Caches that a test fills (the logger, locales, gtest's own records) stay below this. HeapCheck
  // compares exactly.
  static constexpr std::int64_t kHeapGrowth = 512 * 1024;

 private:
  void OnTestStart(const ::testing::TestInfo& info) override;
  void OnTestEnd(const ::testing::TestInfo& info) override;
  // Lists the objects that exist now and did not when the test began; empty when there are none.
  std::string leftovers() const;

  std::map<int, std::string> descriptors_;
  std::map<pid_t, std::string> threads_;
  LiveHeap heap_;
};

}  // namespace weir::test
