// The file of a Unix datagram socket in a folder that somebody else may change at any time.
#include <gtest/gtest.h>
#include <sys/stat.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>
#include <string>

#include "support/udp_harness.h"

namespace weir::test {
namespace {

namespace fs = std::filesystem;

bool exists(const std::string& path) { return fs::exists(fs::symlink_status(path)); }

class UdpUnixFile : public ::testing::Test {
 protected:
  UdpUnixFile() {
    std::string name = "/tmp/weir-udp-XXXXXX";
    if (::mkdtemp(name.data()) == nullptr) ADD_FAILURE() << "mkdtemp";
    top = name;
    fs::create_directory(top + "/folder");
    previous_umask_ = ::umask(022);
  }
  ~UdpUnixFile() override {
    ::umask(previous_umask_);
    fs::remove_all(top);
  }
  std::string path() const { return top + "/folder/s"; }
  std::string address() const { return "unix:" + path(); }

  std::string top;

 private:
  mode_t previous_umask_ = 0;
};

TEST_F(UdpUnixFile, F70_ALinkPlantedBeforeChmodIsNotFollowed) {
  const std::string secret = top + "/secret";
  std::ofstream(secret) << "secret";
  ASSERT_EQ(::chmod(secret.c_str(), 0600), 0);
  UdpHarness udp({.unix_mode = 0666}, "");
  udp.faults.on(Call::chmod).hook([&] {
    fs::remove(path());
    fs::create_symlink(secret, path());
  });
  const auto bound = udp.socket->bind(address());
  ASSERT_FALSE(bound) << "the path is another's";
  EXPECT_EQ(bound.error().code(), EADDRINUSE) << bound.error().message();
  EXPECT_EQ(udp.faults.count(Call::chmod), 1u);
  struct stat now {};
  ASSERT_EQ(::stat(secret.c_str(), &now), 0);
  EXPECT_EQ(now.st_mode & 07777, 0600u);
  EXPECT_TRUE(fs::is_symlink(path())) << "it is not ours to remove";
}

TEST_F(UdpUnixFile, F70_ItsFileIsRemovedFromTheFolderWhereItWasMade) {
  UdpHarness udp({}, address());
  fs::rename(top + "/folder", top + "/moved");
  fs::create_directory(top + "/folder");
  std::ofstream(path()) << "precious";
  udp.socket->close();
  run_turn(udp.loop);
  EXPECT_TRUE(exists(path()));
  EXPECT_FALSE(exists(top + "/moved/s"));
}

TEST_F(UdpUnixFile, F70_ARelativePathIsRemovedAlsoAfterChdir) {
  const fs::path before = fs::current_path();
  fs::current_path(top + "/folder");
  UdpHarness udp({}, "unix:s");
  fs::current_path("/");
  EXPECT_TRUE(exists(path()));
  udp.socket->close();
  run_turn(udp.loop);
  EXPECT_FALSE(exists(path()));
  fs::current_path(before);
}

TEST_F(UdpUnixFile, F70_WhatIsInTheWayIsNamed) {
  std::ofstream(path()) << "precious";
  UdpHarness udp({}, "");
  const auto bound = udp.socket->bind(address());
  ASSERT_FALSE(bound);
  EXPECT_EQ(bound.error().code(), EADDRINUSE);
  EXPECT_NE(bound.error().message().find("a regular file is in the way"), std::string::npos)
      << bound.error().message();
}

}  // namespace
}  // namespace weir::test
