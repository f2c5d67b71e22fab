#include <gtest/gtest.h>
#include <sys/stat.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "support/sockets.h"
#include "support/temp_files.h"
#include "weir/net/socket/listening_socket.h"
#include "weir/net/sys/sys.h"

namespace weir {
namespace {

namespace fs = std::filesystem;
namespace sys = internal::sys;
using Family = SocketAddress::Family;
using internal::SysTable;
using test::exists;
using test::mode_of;
using test::path_address;
using test::refused;
using namespace std::string_literals;

TEST(UnixListener, F70_ServesAndRemovesItsFile) {
  const test::TempFolder folder;
  const std::string path = folder.file("s");
  {
    auto listener = test::listen_on("unix:" + path);
    EXPECT_EQ(listener.address(), path_address(path));
    auto client = test::connect_to(listener.address());
    auto server = test::accept_from(listener);
    EXPECT_EQ(client.peer_address(), path_address(path));
    EXPECT_EQ(server.peer_address().family(), Family::unspecified);
    ASSERT_EQ(*sys::send(client.fd(), test::bytes_of("hi")), 2U);
    EXPECT_TRUE(test::wait_for(server.fd(), POLLIN));
  }
  EXPECT_FALSE(exists(path));
}

TEST(UnixListener, F70_AStaleSocketIsReplaced) {
  const test::TempFolder folder;
  const std::string path = folder.file("s");
  {
    auto dead = Socket::stream(Family::unix_path);
    ASSERT_TRUE(dead && dead->bind(path_address(path)) && dead->listen(1));
  }
  ASSERT_TRUE(exists(path)) << "a server that was killed leaves its file";
  auto listener = test::listen_on("unix:" + path);
  auto client = test::connect_to(listener.address());
  EXPECT_TRUE(test::accept_from(listener).valid());
}

TEST(UnixListener, F70_ALiveListenerIsLeftAlone) {
  const test::TempFolder folder;
  auto listener = test::listen_on("unix:" + folder.file("s"));
  const Error error = refused(listener.address());
  EXPECT_EQ(error.code(), EADDRINUSE);
  EXPECT_NE(error.message().find("another program listens there"), std::string::npos);
  test::accept_from(listener);  // the probe
  auto client = test::connect_to(listener.address());
  EXPECT_TRUE(test::accept_from(listener).valid());
}

TEST(UnixListener, F70_ALiveListenerWhoseQueueIsFullIsLeftAlone) {
  const test::TempFolder folder;
  const std::string path = folder.file("s");
  auto listener = test::listen_on("unix:" + path, {.backlog = 0});
  std::vector<Socket> waiting;
  for (bool full = false; !full;) {
    auto client = Socket::stream(Family::unix_path);
    ASSERT_TRUE(client);
    const auto done = client->connect(listener.address());
    full = !done;
    ASSERT_TRUE(!full || done.error() == EAGAIN);
    waiting.push_back(std::move(*client));
    ASSERT_LT(waiting.size(), 100U);
  }
  EXPECT_EQ(refused(listener.address()).code(), EADDRINUSE);
  EXPECT_TRUE(exists(path));
}

TEST(UnixListener, F70_ADatagramSocketIsLeftAlone) {
  const test::TempFolder folder;
  const std::string path = folder.file("s");
  auto other = Socket::datagram(Family::unix_path);
  ASSERT_TRUE(other && other->bind(path_address(path)));
  EXPECT_EQ(refused(path_address(path)).code(), EADDRINUSE);
  EXPECT_TRUE(exists(path));
}

TEST(UnixListener, F70_WhatIsNoSocketIsNeverRemoved) {
  const test::TempFolder folder;
  const std::string file = folder.file("file");
  std::ofstream(file) << "precious";
  const std::string directory = folder.file("directory");
  fs::create_directory(directory);
  const std::string dead = folder.file("dead");
  {
    auto socket = Socket::stream(Family::unix_path);
    ASSERT_TRUE(socket && socket->bind(path_address(dead)));
  }
  const std::string to_file = folder.file("to_file");
  fs::create_symlink(file, to_file);
  const std::string to_dead = folder.file("to_dead");
  fs::create_symlink(dead, to_dead);
  const std::string to_nothing = folder.file("to_nothing");
  fs::create_symlink(folder.file("nothing"), to_nothing);
  const std::string fifo = folder.file("fifo");
  ASSERT_EQ(::mkfifo(fifo.c_str(), 0600), 0);

  const std::pair<std::string, const char*> cases[] = {
      {file, "a regular file is in the way"},        {directory, "a directory is in the way"},
      {to_file, "a symbolic link is in the way"},    {to_dead, "a symbolic link is in the way"},
      {to_nothing, "a symbolic link is in the way"}, {fifo, "is in the way"},
  };
  for (const auto& [path, message] : cases) {
    const Error error = refused(path_address(path));
    EXPECT_EQ(error.code(), EADDRINUSE) << path;
    EXPECT_NE(error.message().find(message), std::string::npos) << error.message();
    EXPECT_TRUE(exists(path)) << path;
  }
  EXPECT_TRUE(exists(dead));
  EXPECT_FALSE(exists(folder.file("nothing")));
  std::string content;
  std::ifstream(file) >> content;
  EXPECT_EQ(content, "precious");
}

// Looks at the file's permissions at every step up to listen.
class ModeWatcher : public SysTable {
 public:
  explicit ModeWatcher(std::string path) : path_(std::move(path)) {}
  mode_t after_bind = 0;
  mode_t before_listen = 0;

  int bind(int fd, const sockaddr* address, socklen_t length) override {
    const int answer = SysTable::bind(fd, address, length);
    after_bind = mode_of(path_);
    return answer;
  }
  int listen(int fd, int backlog) override {
    before_listen = mode_of(path_);
    return SysTable::listen(fd, backlog);
  }

 private:
  std::string path_;
};

TEST(UnixListener, F70_PermissionsAreThereBeforeListenAndNeverWider) {
  const test::TempFolder folder;
  const std::string path = folder.file("s");
  for (const mode_t umask_value : {mode_t{0}, mode_t{022}, mode_t{077}, mode_t{0777}}) {
    for (const mode_t asked : {mode_t{0600}, mode_t{0660}, mode_t{0666}, mode_t{0777}, mode_t{0}}) {
      ModeWatcher watcher(path);
      std::optional<ListeningSocket> listener;
      const mode_t previous = ::umask(umask_value);
      {
        const sys::ScopedTable scoped(&watcher);
        auto opened = ListeningSocket::open(path_address(path), {.unix_mode = asked});
        ::umask(previous);
        ASSERT_TRUE(opened) << opened.error().message();
        listener = std::move(*opened);
      }
      EXPECT_EQ(watcher.after_bind & ~asked, 0U) << "wider than asked, for a moment";
      EXPECT_EQ(watcher.before_listen, asked);
      EXPECT_EQ(mode_of(path), asked);
    }
  }
  auto by_default = test::listen_on("unix:" + path);
  EXPECT_EQ(mode_of(path), mode_t{0600});
}

// The second one finds a socket on which nobody listens yet, and takes its place.
class StartsAnotherBeforeListen final : public SysTable {
 public:
  explicit StartsAnotherBeforeListen(std::string path) : path_(std::move(path)) {}
  int listen(int fd, int backlog) override {
    if (!std::exchange(started_, true)) another = test::listen_on("unix:" + path_);
    return SysTable::listen(fd, backlog);
  }
  std::optional<ListeningSocket> another;

 private:
  const std::string path_;
  bool started_ = false;
};

TEST(UnixListener, F70_OfTwoThatStartAtTheSameMomentOneIsTold) {
  const test::TempFolder folder;
  const std::string path = folder.file("s");
  StartsAnotherBeforeListen table(path);
  {
    const sys::ScopedTable use(&table);
    const auto first = ListeningSocket::open(path_address(path), {});
    ASSERT_FALSE(first);
    EXPECT_EQ(first.error().code(), EADDRINUSE);
    EXPECT_NE(first.error().message().find("at the same moment"), std::string::npos)
        << first.error().message();
  }
  EXPECT_TRUE(exists(path)) << "it is the other one's";
  auto client = test::connect_to(path_address(path));
  test::accept_from(*table.another);
}

TEST(UnixListener, F70_AFileThatTookItsPlaceIsNotRemoved) {
  const test::TempFolder folder;
  const std::string path = folder.file("s");
  {
    auto listener = test::listen_on("unix:" + path);
    fs::remove(path);
    std::ofstream(path) << "somebody else's";
  }
  EXPECT_TRUE(exists(path));
  fs::remove(path);

  // Also when it is another listener's socket.
  auto first = test::listen_on("unix:" + path);
  fs::remove(path);
  auto second = test::listen_on("unix:" + path);
  first.close();
  EXPECT_TRUE(exists(path));
  auto client = test::connect_to(second.address());
  EXPECT_TRUE(test::accept_from(second).valid());
}

TEST(UnixListener, F70_AFileThatIsGoneIsNoTrouble) {
  const test::TempFolder folder;
  const std::string path = folder.file("s");
  auto listener = test::listen_on("unix:" + path);
  fs::remove(path);
  listener.close();
  listener.close();
  EXPECT_FALSE(exists(path));
}

TEST(UnixListener, F70_WhatWasMovedFromDoesNothing) {
  const test::TempFolder folder;
  const std::string path = folder.file("s");
  const std::string other_path = folder.file("t");
  auto target = std::make_unique<ListeningSocket>();
  {
    auto listener = test::listen_on("unix:" + path);
    ListeningSocket moved(std::move(listener));
    listener.close();  // NOLINT(bugprone-use-after-move)
    EXPECT_TRUE(exists(path));
    EXPECT_FALSE(listener.socket().valid());
    *target = test::listen_on("unix:" + other_path);
    *target = std::move(moved);
    EXPECT_FALSE(exists(other_path)) << "what the target held before is closed";
  }
  EXPECT_TRUE(exists(path));
  auto client = test::connect_to(target->address());
  EXPECT_TRUE(test::accept_from(*target).valid());
  target.reset();
  EXPECT_FALSE(exists(path));
}

TEST(UnixListener, F42_AfterRefuseNewTheQueueIsServedAndNobodyElse) {
  const test::TempFolder folder;
  const std::string path = folder.file("s");
  auto listener = test::listen_on("unix:" + path);
  auto queued = test::connect_to(listener.address());
  listener.refuse_new();
  auto late = Socket::stream(Family::unix_path);
  ASSERT_TRUE(late);
  EXPECT_EQ(late->connect(listener.address()).error(), ECONNREFUSED);
  auto server = test::accept_from(listener);
  ASSERT_EQ(*queued.send(test::bytes_of("ping")), 4U);
  EXPECT_TRUE(test::wait_for(server.fd(), POLLIN));
  listener.close();
  EXPECT_FALSE(exists(path));
}

TEST(UnixListener, F70_ALongPathOf107BytesWorks) {
  const test::TempFolder folder;
  std::string path = folder.file("");
  path.append(107 - path.size(), 'p');
  auto listener = test::listen_on("unix:" + path);
  EXPECT_TRUE(exists(path));
  auto client = test::connect_to(listener.address());
  auto server = test::accept_from(listener);
  EXPECT_EQ(server.local_address(), path_address(path));
  EXPECT_FALSE(SocketAddress::from_unix_path(path + "p"));
}

TEST(UnixListener, F70_AbstractNamesLeaveNoFile) {
  const std::string name = "weir\0\x01\xff_"s + std::to_string(getpid());
  const auto address = SocketAddress::from_unix_abstract(name);
  ASSERT_TRUE(address);
  {
    auto listener = ListeningSocket::open(*address, {});
    ASSERT_TRUE(listener) << listener.error().message();
    EXPECT_EQ(listener->socket().local_address(), *address);
    auto client = test::connect_to(*address);
    auto server = test::accept_from(*listener);
    EXPECT_EQ(client.peer_address(), *address);
    EXPECT_EQ(refused(*address).code(), EADDRINUSE);
  }
  const auto again = ListeningSocket::open(*address, {});
  EXPECT_TRUE(again) << "the name is free once the listener is gone";
}

}  // namespace
}  // namespace weir
