// The listener that fails a test which leaves something behind: open descriptors, threads, child
// processes, a heap that grew, or warnings that it did not expect. main() installs it.
#pragma once

#include <gtest/gtest.h>

#include <map>
#include <string>

#include "support/allocations.h"

namespace weir::test {

class LeakCheck final : public ::testing::EmptyTestEventListener {
 public:
  // For threads that are on their way out and kernel objects that close late.
  static constexpr int kGraceMilliseconds = 3000;
  // Caches that a test fills (the logger, locales, gtest's own records) stay below this. Exact
  // balances are HeapCheck's work.
  static constexpr std::int64_t kHeapGrowth = 512 * 1024;

 private:
  void OnTestStart(const ::testing::TestInfo& info) override;
  void OnTestEnd(const ::testing::TestInfo& info) override;
  // Sentences about what is there now and was not when the test began; empty when nothing is.
  std::string leftovers() const;

  std::map<int, std::string> descriptors_;
  std::map<pid_t, std::string> threads_;
  LiveHeap heap_;
};

}  // namespace weir::test
