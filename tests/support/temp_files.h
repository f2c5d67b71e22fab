// Files, and names of sockets, that no other program has at the same time. [any]
#pragma once

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cstdlib>
#include <filesystem>
#include <string>
#include <string_view>

#include "support/allocations.h"
#include "weir/base/fd.h"

namespace weir::test {

// A new folder under /tmp, which is removed with all that is in it.
class TempFolder {
 public:
  TempFolder() {
    std::string name = "/tmp/weir_XXXXXX";
    if (::mkdtemp(name.data()) == nullptr) std::abort();
    path_ = name;
  }
  TempFolder(const TempFolder&) = delete;
  TempFolder& operator=(const TempFolder&) = delete;
  ~TempFolder() {
    const SpareAllocations of_the_test;
    std::filesystem::remove_all(path_);
  }
  const std::string& path() const { return path_; }
  std::string file(std::string_view name) const { return path_ + "/" + std::string(name); }
  // Of a Unix socket there, as listen() takes it.
  std::string address(std::string_view name) const { return "unix:" + file(name); }

 private:
  std::string path_;
};

// An address in the abstract namespace, as listen() takes it.
inline std::string abstract_address(std::string_view name) {
  return "unix:@weir-test-" + std::to_string(::getpid()) + "-" + std::string(name);
}

// A file that has these bytes and no name, and is gone when it is closed.
inline Fd file_with(std::string_view bytes) {
  Fd file(::open("/tmp", O_TMPFILE | O_RDWR | O_CLOEXEC, 0600));
  EXPECT_TRUE(file.valid());
  EXPECT_EQ(::write(file.get(), bytes.data(), bytes.size()), static_cast<ssize_t>(bytes.size()));
  return file;
}

// Links are not followed.
inline bool exists(const std::string& path) {
  return std::filesystem::exists(std::filesystem::symlink_status(path));
}
inline mode_t mode_of(const std::string& path) {
  struct stat info {};
  EXPECT_EQ(::lstat(path.c_str(), &info), 0) << path;
  return info.st_mode & 07777;
}

}  // namespace weir::test
