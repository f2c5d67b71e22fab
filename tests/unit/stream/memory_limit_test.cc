// The memory that the process may use, in folders that stand for /proc and /sys.
#include "weir/net/stream/internal/memory_limit.h"

#include <gtest/gtest.h>
#include <unistd.h>

#include <cstdint>
#include <filesystem>
#include <fstream>
#include <string>

#include "support/temp_files.h"
#include "weir/net/stream/buffer_budget.h"

namespace weir::test {
namespace {

namespace fs = std::filesystem;

class MemoryLimit : public ::testing::Test {
 protected:
  void put(const std::string& path, const std::string& text) {
    fs::create_directories(fs::path(root_.path() + path).parent_path());
    std::ofstream(root_.path() + path) << text;
  }
  std::uint64_t limit() const { return internal::memory_limit(root_.path()); }

  const std::uint64_t machine_ = static_cast<std::uint64_t>(sysconf(_SC_PHYS_PAGES)) *
                                 static_cast<std::uint64_t>(sysconf(_SC_PAGESIZE));
  const TempFolder root_;
};

TEST_F(MemoryLimit, WithoutCgroupsItIsTheMachines) {
  EXPECT_EQ(limit(), machine_);
  put("/proc/self/cgroup", "0::/\nnonsense\n:\n");
  put("/sys/fs/cgroup/memory.max", "max\n");
  EXPECT_EQ(limit(), machine_);
}

TEST_F(MemoryLimit, F25_OfCgroupV2ItIsTheSmallestOnTheWayUp) {
  put("/proc/self/cgroup", "0::/slice/service\n");
  put("/sys/fs/cgroup/slice/service/memory.max", "max\n");
  put("/sys/fs/cgroup/slice/memory.max", "134217728\n");
  EXPECT_EQ(limit(), 134217728u);
  put("/sys/fs/cgroup/slice/service/memory.max", "33554432\n");
  EXPECT_EQ(limit(), 33554432u);
  put("/sys/fs/cgroup/memory.max", "1048576\n");
  EXPECT_EQ(limit(), 1048576u);
}

TEST_F(MemoryLimit, F25_OfCgroupV1ItIsThatOfTheMemoryController) {
  put("/proc/self/cgroup", "7:cpu,cpuacct:/a\n5:hugetlb,memory:/docker/abc\n0::/elsewhere\n");
  put("/sys/fs/cgroup/memory/a/memory.limit_in_bytes", "1\n");
  put("/sys/fs/cgroup/memory/docker/abc/memory.limit_in_bytes", "9223372036854771712\n");
  EXPECT_EQ(limit(), machine_);
  put("/sys/fs/cgroup/memory/docker/memory.limit_in_bytes", "67108864\n");
  EXPECT_EQ(limit(), 67108864u);
}

TEST_F(MemoryLimit, F25_TheDefaultBudgetIsAQuarterOfIt) {
  EXPECT_EQ(buffer_budget(), internal::memory_limit() / 4);
}

// The path is the host's, or lies outside of what the container sees.
TEST_F(MemoryLimit, F25_InAContainerTheRootIsItsOwn) {
  for (const char* path : {"5:memory:/host/name/of/it\n", "5:memory:/../../init\n"}) {
    put("/proc/self/cgroup", path);
    put("/sys/fs/cgroup/memory/memory.limit_in_bytes", "134217728\n");
    EXPECT_EQ(limit(), 134217728u);
  }
  put("/proc/self/cgroup", "0::/../../init\n");
  put("/sys/fs/cgroup/memory.max", "268435456\n");
  EXPECT_EQ(limit(), 268435456u);
}

}  // namespace
}  // namespace weir::test
