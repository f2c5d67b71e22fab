// The file of a Unix datagram socket in a folder that somebody else may change at any time.
#include <gtest/gtest.h>
#include <sys/stat.h>

#include <filesystem>
#include <fstream>
#include <string>

#include "support/temp_files.h"
#include "support/udp_harness.h"

namespace weir::test {
namespace {

namespace fs = std::filesystem;

class UdpUnixFile : public ::testing::Test {
 protected:
  UdpUnixFile() {
    fs::create_directory(top.file("folder"));
    previous_umask_ = ::umask(022);
  }
  ~UdpUnixFile() override { ::umask(previous_umask_); }
  std::string path() const { return top.file("folder/s"); }
  std::string address() const { return "unix:" + path(); }

  const TempFolder top;

 private:
  mode_t previous_umask_ = 0;
};

TEST_F(UdpUnixFile, F70_ALinkPlantedBeforeChmodIsNotFollowed) {
  const std::string secret = top.file("secret");
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
  EXPECT_EQ(mode_of(secret), 0600u);
  EXPECT_TRUE(fs::is_symlink(path())) << "it is not ours to remove";
}

TEST_F(UdpUnixFile, F70_ItsFileIsRemovedFromTheFolderWhereItWasMade) {
  UdpHarness udp({}, address());
  fs::rename(top.file("folder"), top.file("moved"));
  fs::create_directory(top.file("folder"));
  std::ofstream(path()) << "precious";
  udp.socket->close();
  run_turn(udp.loop);
  EXPECT_TRUE(exists(path()));
  EXPECT_FALSE(exists(top.file("moved/s")));
}

TEST_F(UdpUnixFile, F70_ARelativePathIsRemovedAlsoAfterChdir) {
  const fs::path before = fs::current_path();
  fs::current_path(top.file("folder"));
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
