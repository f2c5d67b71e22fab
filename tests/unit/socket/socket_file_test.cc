// The file of a Unix path in a folder that somebody else may change at any time.
#include <gtest/gtest.h>
#include <sys/stat.h>
#include <unistd.h>

#include <array>
#include <filesystem>
#include <fstream>
#include <functional>
#include <string>
#include <utility>

#include "support/fault_table.h"
#include "support/sockets.h"
#include "support/temp_files.h"
#include "weir/net/socket/listening_socket.h"
#include "weir/net/sys/sys.h"

namespace weir::test {
namespace {

namespace fs = std::filesystem;

// So that a chmod is needed for what these tests ask.
class Umask {
 public:
  explicit Umask(mode_t value) : previous_(::umask(value)) {}
  ~Umask() { ::umask(previous_); }
  Umask(const Umask&) = delete;
  Umask& operator=(const Umask&) = delete;

 private:
  const mode_t previous_;
};

// A private file outside, and a folder whose owner can put a link to it in the socket's place.
struct Trap {
  Trap() {
    std::ofstream(secret) << "secret";
    ::chmod(secret.c_str(), 0600);
  }
  void plant() const {
    fs::remove(path);
    fs::create_symlink(secret, path);
  }

  const TempFolder folder;
  const TempFolder outside;
  const std::string path = folder.file("s");
  const std::string secret = outside.file("secret");
};

class AfterBind final : public internal::SysTable {
 public:
  explicit AfterBind(std::function<void()> then) : then_(std::move(then)) {}
  int bind(int fd, const sockaddr* address, socklen_t length) override {
    const int answer = SysTable::bind(fd, address, length);
    then_();
    return answer;
  }

 private:
  const std::function<void()> then_;
};

TEST(UnixListener, F70_ALinkPlantedBeforeChmodIsNotFollowed) {
  const Trap trap;
  const Umask narrow(022);
  FaultTable faults;
  const ScopedFaults use(faults);
  faults.on(Call::chmod).hook([&] { trap.plant(); });
  const Error error = refused(path_address(trap.path), {.unix_mode = 0666});
  EXPECT_EQ(error.code(), EADDRINUSE) << error.message();
  EXPECT_EQ(faults.count(Call::chmod), 1U);
  EXPECT_EQ(mode_of(trap.secret), mode_t{0600});
  EXPECT_TRUE(fs::is_symlink(trap.path)) << "it is not ours to remove";
}

TEST(UnixListener, F70_ALinkPlantedAfterBindIsNotFollowed) {
  const Trap trap;
  const Umask narrow(022);
  AfterBind table([&] { trap.plant(); });
  const internal::sys::ScopedTable use(&table);
  const Error error = refused(path_address(trap.path), {.unix_mode = 0666});
  EXPECT_EQ(error.code(), EADDRINUSE) << error.message();
  EXPECT_EQ(mode_of(trap.secret), mode_t{0600});
  EXPECT_TRUE(fs::is_symlink(trap.path));
}

TEST(UnixListener, F70_AnotherUsersSocketInItsPlaceKeepsItsPermissions) {
  if (::geteuid() != 0) GTEST_SKIP() << "only root can make another user's socket";
  const TempFolder folder;
  const std::string path = folder.file("s");
  const std::string other = folder.file("other");
  const Umask narrow(022);
  auto theirs = Socket::stream(SocketAddress::Family::unix_path);
  ASSERT_TRUE(theirs && theirs->bind(path_address(other)));
  ASSERT_EQ(::chmod(other.c_str(), 0600), 0);
  ASSERT_EQ(::chown(other.c_str(), 65534, 65534), 0);
  AfterBind table([&] { fs::rename(other, path); });
  const internal::sys::ScopedTable use(&table);
  EXPECT_EQ(refused(path_address(path), {.unix_mode = 0666}).code(), EADDRINUSE);
  EXPECT_EQ(mode_of(path), mode_t{0600});
}

// Between the look at a dead socket and its removal another folder takes the place of its folder.
TEST(UnixListener, F70_AStaleSocketIsRemovedFromTheFolderThatWasLookedAt) {
  const TempFolder top;
  const TempFolder precious;
  const std::string folder = top.file("folder");
  fs::create_directory(folder);
  {
    auto dead = Socket::stream(SocketAddress::Family::unix_path);
    ASSERT_TRUE(dead && dead->bind(path_address(folder + "/s")));
  }
  std::ofstream(precious.file("s")) << "precious";
  FaultTable faults;
  {
    const ScopedFaults use(faults);
    faults.on(Call::unlinkat).nth(1).hook([&] {
      fs::rename(folder, top.file("aside"));
      fs::create_symlink(precious.path(), folder);
    });
    EXPECT_EQ(refused(path_address(folder + "/s")).code(), EADDRINUSE);
  }
  EXPECT_EQ(faults.count(Call::unlinkat), 1U);
  EXPECT_TRUE(exists(precious.file("s")));
  EXPECT_FALSE(exists(top.file("aside/s"))) << "the dead one is gone";
}

TEST(UnixListener, F70_ItsFileIsRemovedFromTheFolderWhereItWasMade) {
  const TempFolder top;
  const std::string folder = top.file("folder");
  fs::create_directory(folder);
  auto listener = listen_on("unix:" + folder + "/s");
  fs::rename(folder, top.file("moved"));
  fs::create_directory(folder);
  std::ofstream(folder + "/s") << "precious";
  listener.close();
  EXPECT_TRUE(exists(folder + "/s"));
  EXPECT_FALSE(exists(top.file("moved/s")));
}

TEST(UnixListener, F70_ARelativePathIsRemovedAlsoAfterChdir) {
  const TempFolder folder;
  const fs::path before = fs::current_path();
  fs::current_path(folder.path());
  auto listener = listen_on("unix:s");
  fs::create_directory("deeper");
  auto deeper = listen_on("unix:deeper/s");
  fs::current_path("/");
  EXPECT_TRUE(exists(folder.file("s")));
  EXPECT_TRUE(exists(folder.file("deeper/s")));
  listener.close();
  deeper.close();
  EXPECT_FALSE(exists(folder.file("s")));
  EXPECT_FALSE(exists(folder.file("deeper/s")));
  fs::current_path(before);
}

// The probe connects to the file that was examined, also when another has taken its path.
TEST(UnixListener, F70_TheProbeAsksTheFileThatMayBeRemoved) {
  const TempFolder folder;
  const std::string path = folder.file("s");
  auto living = listen_on("unix:" + path);
  const std::string aside = folder.file("aside");
  FaultTable faults;
  {
    const ScopedFaults use(faults);
    faults.on(Call::connect).nth(1).hook([&] {
      fs::rename(path, aside);
      auto dead = Socket::stream(SocketAddress::Family::unix_path);
      ASSERT_TRUE(dead && dead->bind(path_address(path)));
    });
    EXPECT_EQ(refused(path_address(path)).code(), EADDRINUSE);
  }
  EXPECT_TRUE(exists(aside));
  accept_from(living);  // the probe
}

// Without /proc the path is probed instead, and permissions that the umask took are not given.
TEST(UnixListener, F70_WithoutProcAStaleSocketIsStillReplaced) {
  class NoProc final : public internal::SysTable {
    static bool is_proc(const char* path) { return std::string_view(path).starts_with("/proc/"); }
    int connect(int fd, const sockaddr* address, socklen_t length) override {
      if (is_proc(address->sa_data)) {
        errno = ENOENT;
        return -1;
      }
      return SysTable::connect(fd, address, length);
    }
    int chmod(const char* path, mode_t mode) override {
      if (!is_proc(path)) return SysTable::chmod(path, mode);
      errno = ENOENT;
      return -1;
    }
  } table;
  const TempFolder folder;
  const std::string path = folder.file("s");
  const Umask narrow(022);
  {
    auto dead = Socket::stream(SocketAddress::Family::unix_path);
    ASSERT_TRUE(dead && dead->bind(path_address(path)));
  }
  const internal::sys::ScopedTable use(&table);
  {
    const auto listener = listen_on("unix:" + path);
    EXPECT_EQ(refused(path_address(path)).code(), EADDRINUSE);
  }
  const Error error = refused(path_address(path), {.unix_mode = 0666});
  EXPECT_EQ(error.code(), ENOENT);
  EXPECT_NE(error.message().find("/proc"), std::string::npos) << error.message();
  EXPECT_FALSE(exists(path)) << "what was made is removed";
}

}  // namespace
}  // namespace weir::test
