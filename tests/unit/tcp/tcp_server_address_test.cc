// Where a server listens: addresses, Unix paths, and what is left of them.
#include <gtest/gtest.h>
#include <net/if.h>
#include <unistd.h>

#include <cerrno>
#include <fstream>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "support/echo_server.h"
#include "support/expect_log.h"
#include "support/fault_table.h"
#include "support/loops.h"
#include "support/process_state.h"
#include "support/subprocess.h"
#include "support/temp_files.h"
#include "weir/net/tcp/tcp_server.h"

namespace weir::test {
namespace {

using namespace std::chrono_literals;

SocketAddress parse(std::string_view text) { return SocketAddress::parse(text).value(); }

SocketAddress at_port(std::string_view host, std::uint16_t port) {
  return parse(std::string(host) + ":" + std::to_string(port));
}

bool serves(EventLoop& loop, const SocketAddress& address) {
  bool good = false;
  serve_while(loop, [&] {
    TestClient client;
    good = client.try_connect(address) == 0 && echoes(client);
  });
  return good;
}

// --- IP ------------------------------------------------------------------------------------------

TEST(TcpServerAddress, F71_DualStackTakesBothFamilies) {
  EventLoop loop;
  EchoServer echo(loop);
  const SocketAddress bound = echo.listen("[::]:0");
  ASSERT_NE(bound.port(), 0);
  EXPECT_TRUE(serves(loop, at_port("[::1]", bound.port())));
  EXPECT_TRUE(serves(loop, at_port("127.0.0.1", bound.port())));
}

TEST(TcpServerAddress, F71_V6OnlyIsExplicit) {
  EventLoop loop;
  EchoServer echo(loop, {.v6_only = true});
  const SocketAddress bound = echo.listen("[::]:0");
  EXPECT_TRUE(serves(loop, at_port("[::1]", bound.port())));
  EXPECT_EQ(TestClient().try_connect(at_port("127.0.0.1", bound.port())), ECONNREFUSED);
}

TEST(TcpServerAddress, F71_AScopeIdIsKept) {
  EventLoop loop;
  EchoServer echo(loop);
  // A link-local address, if the machine has one; it cannot be bound without its scope.
  std::ifstream interfaces("/proc/net/if_inet6");
  std::string digits, index, prefix, scope, flags, name;
  std::string text = "[::1%lo]:0";
  while (interfaces >> digits >> index >> prefix >> scope >> flags >> name) {
    if (scope != "20") continue;
    text = "[";
    for (std::size_t i = 0; i < 32; i += 4) text += (i > 0 ? ":" : "") + digits.substr(i, 4);
    text += "%" + name + "]:0";
    break;
  }
  const SocketAddress bound = echo.listen(text);
  EXPECT_NE(bound.port(), 0);
  EXPECT_TRUE(serves(loop, bound)) << bound.to_string();
  if (text != "[::1%lo]:0") {
    EXPECT_NE(bound.to_string().find('%'), std::string::npos) << bound.to_string();
  }
}

TEST(TcpServerAddress, F71_SeveralAddressesAtOnce) {
  const TempFolder folder;
  for (const std::size_t threads : {0u, 2u}) {
    for (const AcceptMode accept :
         {AcceptMode::single, AcceptMode::reuse_port, AcceptMode::exclusive}) {
      EventLoop loop;
      EchoServer echo(loop, {.threads = threads, .accept = accept});
      std::vector<SocketAddress> bound;
      for (const std::string& text :
           {std::string("127.0.0.1:0"), std::string("127.0.0.1:0"), std::string("[::1]:0"),
            folder.address("socket"), abstract_address("several")}) {
        bound.push_back(echo.listen(text));
      }
      EXPECT_NE(bound[0].port(), bound[1].port());
      for (const SocketAddress& address : bound) {
        EXPECT_TRUE(serves(loop, address)) << address.to_string();
      }
      EXPECT_EQ(echo.opened, bound.size());
    }
  }
}

TEST(TcpServerAddress, F71_PortZeroIsAPortOfItsOwnInEveryMode) {
  for (const AcceptMode accept :
       {AcceptMode::single, AcceptMode::reuse_port, AcceptMode::exclusive}) {
    EventLoop loop;
    EchoServer one(loop, {.threads = 2, .accept = accept});
    EchoServer two(loop, {.threads = 2, .accept = accept});
    std::set<std::uint16_t> ports;
    for (int i = 0; i < 25; ++i) {
      ports.insert(one.listen().port());
      ports.insert(two.listen().port());
    }
    EXPECT_EQ(ports.size(), 50u);
    EXPECT_FALSE(ports.contains(0));
  }
}

TEST(TcpServerAddress, F71_WhatIsNoAddressIsAnErrorThatSaysSo) {
  EventLoop loop;
  TcpServer server(loop);
  for (const std::string& bad :
       {std::string(), std::string("127.0.0.1"), std::string("127.0.0.1:65536"),
        std::string("127.0.0.1:80x"), std::string("[::1:80"), std::string("unix:"),
        std::string(300, 'a') + ":1", "unix:/" + std::string(200, 'a')}) {
    const auto refused = server.listen(bad);
    ASSERT_FALSE(refused.has_value()) << bad;
    EXPECT_EQ(refused.error().message().find("listen"), 0u) << refused.error().message();
  }
}

TEST(TcpServerAddress, AnAddressInUseIsAnErrorAndTheServerGoesOn) {
  for (const AcceptMode accept :
       {AcceptMode::single, AcceptMode::reuse_port, AcceptMode::exclusive}) {
    EventLoop loop;
    EchoServer first(loop);
    const SocketAddress taken = first.listen();
    EchoServer second(loop, {.threads = 2, .accept = accept});
    const auto refused = second.server.listen(taken);
    ASSERT_FALSE(refused.has_value());
    EXPECT_EQ(refused.error().code(), EADDRINUSE);
    EXPECT_NE(refused.error().message().find("listen on " + taken.to_string()), std::string::npos);
    EXPECT_TRUE(serves(loop, second.listen()));
    EXPECT_TRUE(serves(loop, taken));
    EXPECT_EQ(first.opened, 1u);
  }
}

// --- Unix paths ----------------------------------------------------------------------------------

TEST(TcpServerAddress, F70_AUnixPathHasItsPermissionsAndGoesWithTheServer) {
  const TempFolder folder;
  EventLoop loop;
  {
    EchoServer echo(loop);
    echo.listen(folder.address("default"));
    EchoServer open(loop, {.unix_mode = 0666});
    open.listen(folder.address("open"));
    EXPECT_EQ(mode_of(folder.file("default")), 0600u);
    EXPECT_EQ(mode_of(folder.file("open")), 0666u);
    EXPECT_TRUE(serves(loop, parse(folder.address("default"))));
    EXPECT_TRUE(serves(loop, parse(folder.address("open"))));
  }
  EXPECT_FALSE(exists(folder.file("default")));
  EXPECT_FALSE(exists(folder.file("open")));
}

TEST(TcpServerAddress, AConnectionKnowsWhoIsAtTheOtherEndOfAUnixSocket) {
  const TempFolder folder;
  EventLoop loop;
  EchoServer echo(loop);
  SysResult<Credentials> peer;
  echo.server.on_open([&](TcpConnection& connection) { peer = connection.peer_credentials(); });
  echo.listen(folder.address("s"));
  const SocketAddress ip = echo.listen();
  EXPECT_TRUE(serves(loop, parse(folder.address("s"))));
  ASSERT_TRUE(peer);
  EXPECT_EQ(peer->pid, ::getpid());
  EXPECT_EQ(peer->uid, ::geteuid());
  EXPECT_EQ(peer->gid, ::getegid());
  EXPECT_TRUE(serves(loop, ip));
  ASSERT_FALSE(peer);
  EXPECT_EQ(peer.error(), EOPNOTSUPP);
}

TEST(TcpServerAddress, F70_AStaleSocketIsReplacedALiveOneIsNot) {
  const TempFolder folder;
  EventLoop loop;
  {
    const int stale = ::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    const SocketAddress address = parse(folder.address("socket"));
    ASSERT_EQ(::bind(stale, address.data(), address.size()), 0);
    ::close(stale);  // the file stays behind
  }
  EchoServer echo(loop);
  const SocketAddress address = echo.listen(folder.address("socket"));
  EXPECT_TRUE(serves(loop, address));

  {
    EchoServer other(loop);
    const auto refused = other.server.listen(folder.address("socket"));
    ASSERT_FALSE(refused.has_value());
    EXPECT_EQ(refused.error().code(), EADDRINUSE);
  }
  run_turn(loop);
  EXPECT_TRUE(serves(loop, address)) << "the refused one took the file with it";
}

TEST(TcpServerAddress, F70_AllLoopsShareOneUnixSocketInEveryMode) {
  const TempFolder folder;
  for (const AcceptMode accept :
       {AcceptMode::single, AcceptMode::reuse_port, AcceptMode::exclusive}) {
    EventLoop loop;
    std::optional<EchoServer> echo;
    echo.emplace(loop, TcpServer::Options{.threads = 3, .accept = accept});
    const SocketAddress address = echo->listen(folder.address("socket"));
    serve_while(loop, [&] {
      std::vector<TestClient> clients;
      for (int i = 0; i < 30; ++i) clients.emplace_back(address);
      for (TestClient& client : clients) EXPECT_TRUE(echoes(client));
    });
    EXPECT_EQ(echo->server.stats().accepted, 30u);
    bool done = false;
    echo->server.shutdown(5s, [&] { done = true; });
    EXPECT_TRUE(run_until(loop, [&] { return done; }));
    EXPECT_FALSE(exists(folder.file("socket")));
  }
}

// --- descriptors ---------------------------------------------------------------------------------

TEST(TcpServerAddress, F72_AProgramStartedMeanwhileInheritsNothing) {
  const auto inherited = [] {
    Subprocess list({"ls", "/proc/self/fd"});
    EXPECT_EQ(list.wait(), 0);
    return list.output();
  };
  const std::string before = inherited();
  const TempFolder folder;
  EventLoop loop;
  EchoServer echo(loop, {.threads = 2, .accept = AcceptMode::reuse_port});
  const SocketAddress address = echo.listen();
  echo.listen(folder.address("socket"));
  std::vector<TestClient> clients;
  serve_while(loop, [&] {
    for (int i = 0; i < 5; ++i) clients.emplace_back(address);
    for (TestClient& client : clients) EXPECT_TRUE(echoes(client));
  });
  EXPECT_EQ(inherited(), before);
}

TEST(TcpServerAddress, F72_AListenThatFailsLeavesNoDescriptor) {
  FaultTable faults;
  const ScopedFaults use(faults);
  const TempFolder folder;
  EventLoop loop;
  EchoServer taken(loop);
  const std::string in_use = taken.listen().to_string();
  std::ofstream(folder.file("file")) << "not a socket";

  TcpServer server(loop, {.threads = 3, .accept = AcceptMode::reuse_port});
  ASSERT_TRUE(server.listen("127.0.0.1:0").has_value());
  const auto before = open_descriptors();
  const auto fails = [&](const std::string& address) {
    const auto refused = server.listen(address);
    EXPECT_FALSE(refused.has_value()) << address;
    EXPECT_EQ(open_descriptors(), before) << address;
  };
  fails(in_use);
  fails(folder.address("file"));
  fails(folder.address("missing/socket"));
  fails("192.0.2.1:0");
  const std::vector<std::pair<Call, int>> cells = {{Call::socket, EMFILE},
                                                   {Call::socket, ENFILE},
                                                   {Call::socket, ENOBUFS},
                                                   {Call::bind, EACCES},
                                                   {Call::listen, EADDRINUSE}};
  for (const auto& [call, error] : cells) {
    for (std::uint64_t nth = 1; nth <= 3; ++nth) {  // a listening socket a loop
      faults.clear();
      faults.on(call).nth(nth).fail(error);
      fails("127.0.0.1:0");
    }
  }
  faults.clear();
  EXPECT_TRUE(server.listen("127.0.0.1:0").has_value());
}

TEST(TcpServerAddress, F72_APoolThatCannotStartLeavesNothingAndMayBeTriedAgain) {
  for (const Call call : {Call::epoll_create1, Call::eventfd}) {
    for (std::uint64_t nth = 1; nth <= 3; ++nth) {
      FaultTable faults;
      const ScopedFaults use(faults);
      EventLoop loop;
      EchoServer echo(loop, {.threads = 3});
      const auto before = open_descriptors();
      const auto threads_before = threads().size();
      faults.on(call).nth(nth).fail(EMFILE);
      const auto refused = echo.server.listen("127.0.0.1:0");
      ASSERT_FALSE(refused.has_value());
      EXPECT_EQ(refused.error().code(), EMFILE);
      EXPECT_EQ(open_descriptors(), before);
      EXPECT_TRUE(wait_until([&] { return threads().size() == threads_before; }));
      EXPECT_TRUE(serves(loop, echo.listen()));
    }
  }
}

}  // namespace
}  // namespace weir::test
