#include "support/leak_check.h"

#include <chrono>
#include <thread>

#include "support/expect_log.h"
#include "support/process_state.h"

namespace weir::test {

void LeakCheck::OnTestStart(const ::testing::TestInfo&) {
  LogWatch::start();
  descriptors_ = open_descriptors();
  threads_ = threads();
  heap_ = live_heap();
}

std::string LeakCheck::leftovers() const {
  std::string result;
  for (const auto& [fd, target] : open_descriptors()) {
    const auto before = descriptors_.find(fd);
    if (before == descriptors_.end() || before->second != target) {
      result += "\n  descriptor " + std::to_string(fd) + " -> " + target;
    }
  }
  for (const auto& [id, name] : threads()) {
    if (!threads_.contains(id)) result += "\n  thread " + std::to_string(id) + " " + name;
  }
  if (has_children()) result += "\n  a child process that was not waited for";
  return result;
}

void LeakCheck::OnTestEnd(const ::testing::TestInfo& info) {
  std::string left = leftovers();
  for (int waited = 0; !left.empty() && waited < kGraceMilliseconds; ++waited) {
    std::this_thread::sleep_for(std::chrono::milliseconds(1));
    left = leftovers();
  }
  if (!left.empty()) ADD_FAILURE() << "the test left behind:" << left;
  for (const std::string& line : LogWatch::unexpected()) {
    ADD_FAILURE() << "unexpected in the log: " << line;
  }
  const std::int64_t grown = live_heap().bytes - heap_.bytes;
  if (grown > kHeapGrowth && info.result()->Passed()) {
    ADD_FAILURE() << "the heap grew by " << grown << " bytes";
  }
}

}  // namespace weir::test
