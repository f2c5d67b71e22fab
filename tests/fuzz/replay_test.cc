// Calls every fuzz target with the files of its corpus, and with random bytes.
#include <gtest/gtest.h>

#include <algorithm>
#include <cstdio>
#include <filesystem>
#include <iterator>
#include <random>
#include <string>
#include <vector>

#include "fuzz/target.h"
#include "support/allocations.h"
#include "support/expect_log.h"
#include "weir/net/sys/process.h"

namespace weir::fuzz {
namespace {

// Sanitizers make everything slow.
const unsigned kRandomInputs = test::AllocationCount::available() ? 400 : 40;
constexpr std::size_t kLongest = 1000;

Bytes bytes_of(const std::string& text) { return std::as_bytes(std::span(text)); }

class Fuzz : public testing::TestWithParam<const Target*> {
 protected:
  // Makes what a target keeps for all inputs before a test looks at the heap.
  static void SetUpTestSuite() {
    for (const Target* target : Target::all()) target->run({});
  }
};

// The file that a target aborts on is the last one that was printed.
TEST_P(Fuzz, ReplaysItsCorpus) {
  const test::AllowLog any("");
  std::vector<std::filesystem::path> files;
  const auto folder = std::filesystem::path(WEIR_FUZZ_CORPUS) / GetParam()->name();
  std::ranges::copy(std::filesystem::directory_iterator(folder), std::back_inserter(files));
  ASSERT_FALSE(files.empty()) << folder;
  std::ranges::sort(files);
  for (const auto& path : files) {
    const auto input = internal::sys::read_file(path);
    ASSERT_TRUE(input) << path;
    std::printf("%s\n", path.c_str());
    std::fflush(stdout);
    GetParam()->run(bytes_of(*input));
  }
}

// Half of the inputs have only small numbers, so that scripts have many steps.
TEST_P(Fuzz, TakesRandomBytes) {
  const test::AllowLog any("");
  for (unsigned seed = 1; seed <= kRandomInputs; ++seed) {
    std::mt19937 random(seed);
    std::string input(random() % kLongest, '\0');
    const unsigned most = seed % 2 == 0 ? 0x100 : 0x20;
    for (char& c : input) c = static_cast<char>(random() % most);
    SCOPED_TRACE(seed);
    GetParam()->run(bytes_of(input));
  }
}

INSTANTIATE_TEST_SUITE_P(Target, Fuzz, testing::ValuesIn(Target::all()),
                         [](const auto& param_info) { return param_info.param->name(); });

}  // namespace
}  // namespace weir::fuzz
