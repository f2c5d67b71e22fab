// Receiving, answering, addresses: what a UdpSocket does while nothing goes wrong.
#include "weir/net/udp/udp_socket.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <net/if.h>
#include <netinet/in.h>
#include <sys/ioctl.h>

#include <cstring>
#include <set>
#include <string>
#include <vector>

#include "support/alignment.h"
#include "support/allocations.h"
#include "support/net_namespace.h"
#include "support/spin_oracle.h"
#include "support/temp_files.h"
#include "support/udp_harness.h"
#include "weir/base/aligned_bytes.h"

namespace weir::test {
namespace {

TEST(UdpSocket, EchoesOverEachKindOfAddress) {
  for (const std::string& where :
       {std::string("127.0.0.1:0"), std::string("[::1]:0"), abstract_address("server")}) {
    UdpHarness udp({}, where);
    udp.on.datagrams = echo_all;
    const std::string peer_name =
        udp.address.is_unix() ? abstract_address("client") : udp.address.with_port(0).to_string();
    const UdpPeer peer(peer_name);
    ASSERT_TRUE(peer.send(udp.address, "hello"));
    ASSERT_TRUE(udp.until_received(1)) << where;
    SocketAddress from;
    EXPECT_EQ(peer.receive(5000, &from), "hello");
    EXPECT_EQ(from, udp.address);
    EXPECT_EQ(udp.socket->local_address(), udp.address);
    EXPECT_EQ(udp.socket->peer_address().family(), SocketAddress::Family::unspecified);
  }
}

TEST(UdpSocket, ABatchIsOneReceiveOneHandlerCallAndOneSend) {
  UdpHarness udp;
  udp.on.datagrams = echo_all;
  const UdpPeer peer;
  for (int i = 0; i < 40; ++i) ASSERT_TRUE(peer.send(udp.address, std::to_string(i)));
  run_turn(udp.loop);
  EXPECT_EQ(udp.received.size(), 40u);
  EXPECT_EQ(udp.batches, 1);
  EXPECT_EQ(udp.faults.count(Call::recvmmsg), 1u);
  EXPECT_EQ(udp.faults.count(Call::sendmmsg), 1u);
  for (int i = 0; i < 40; ++i) EXPECT_EQ(peer.receive(), std::to_string(i));
  EXPECT_EQ(udp.socket->stats().received, 40u);
  EXPECT_EQ(udp.socket->stats().sent, 40u);
}

// What the kernel copies into begins at a cache line (base/aligned_bytes.h), datagram by datagram.
TEST(UdpSocket, DatagramsAreReceivedAtCacheLines) {
  UdpHarness udp;
  udp.on.datagrams = [](UdpSocket&, std::span<const Datagram> batch) {
    for (const Datagram& one : batch) {
      EXPECT_EQ(beyond_multiple_of(internal::kCacheLine, one.payload.data()), 0u);
    }
  };
  const UdpPeer peer;
  for (int i = 0; i < 10; ++i) ASSERT_TRUE(peer.send(udp.address, "some bytes"));
  EXPECT_TRUE(udp.until_received(10));
}

TEST(UdpSocket, AFloodLeavesTimeForOthers) {
  UdpHarness udp({.receive_buffer = 4 * 1024 * 1024});
  const UdpPeer peer;
  constexpr std::size_t kTurn = UdpSocket::kMaxBatch * UdpSocket::kMaxReceivesPerTurn;
  std::size_t sent = 0;
  while (sent < 2 * kTurn && peer.send(udp.address, "x")) ++sent;
  run_turn(udp.loop);
  const std::size_t first = udp.received.size();
  EXPECT_LE(first, kTurn);
  ASSERT_TRUE(udp.until([&] { return udp.received.size() + udp.socket->kernel_drops() == sent; }));
  EXPECT_GT(udp.received.size(), 0u);
}

TEST(UdpSocket, SteadyStateAllocatesNothing) {
  UdpHarness udp;
  udp.socket.reset();
  udp.socket.emplace(udp.loop);
  udp.socket->on_datagrams(echo_all);
  udp.address = udp.socket->bind("127.0.0.1:0").value();
  const UdpPeer peer;
  std::uint64_t allocations = 0;
  const auto exchange = [&] {
    for (int i = 0; i < 10; ++i) ASSERT_TRUE(peer.send(udp.address, "0123456789"));
    const AllocationCount count;
    run_turn(udp.loop);
    allocations += count.on_this_thread();
    for (int i = 0; i < 10; ++i) ASSERT_EQ(peer.receive(), "0123456789");
  };
  for (int i = 0; i < 20; ++i) exchange();
  allocations = 0;
  const std::uint64_t controls = udp.faults.count(Call::epoll_ctl);
  for (int i = 0; i < 200 && !testing::Test::HasFailure(); ++i) exchange();
  EXPECT_EQ(allocations, 0u);
  EXPECT_EQ(udp.faults.count(Call::epoll_ctl), controls);
}

// --- F71: what is special about datagrams --------------------------------------------------------

TEST(UdpSocket, F71_AZeroLengthDatagramIsADatagramAndNotAnEnd) {
  UdpHarness udp;
  udp.on.datagrams = echo_all;
  const UdpPeer peer;
  for (const char* text : {"", "a", "", "", "b"}) ASSERT_TRUE(peer.send(udp.address, text));
  ASSERT_TRUE(udp.until_received(5));
  EXPECT_EQ(udp.received, (std::vector<std::string>{"", "a", "", "", "b"}));
  for (const char* text : {"", "a", "", "", "b"}) EXPECT_EQ(peer.receive(), text);
  EXPECT_TRUE(udp.socket->is_open());
  EXPECT_TRUE(rests(udp.loop, udp.faults));
}

TEST(UdpSocket, F71_TheLongestIsWholeAndALongerOneIsSaidToBeTruncated) {
  {
    UdpHarness udp({.receive_buffer = 1024 * 1024});
    udp.on.datagrams = echo_all;
    const UdpPeer peer;
    const std::string longest(65'507, 'x');
    ASSERT_TRUE(peer.send(udp.address, longest));
    ASSERT_TRUE(udp.until_received(1));
    EXPECT_TRUE(udp.received[0] == longest);
    EXPECT_EQ(udp.truncated, 0);
    EXPECT_TRUE(peer.receive() == longest);
  }
  UdpHarness udp({}, abstract_address("long"));
  const UdpPeer peer(abstract_address("long-peer"));
  const std::string longer(100'000, 'y');
  ASSERT_TRUE(peer.send(udp.address, longer));
  ASSERT_TRUE(peer.send(udp.address, "short"));
  ASSERT_TRUE(udp.until_received(2));
  EXPECT_EQ(udp.received[0].size(), UdpSocket::kMaxDatagram);
  EXPECT_EQ(udp.received[1], "short");
  EXPECT_EQ(udp.truncated, 1);
  EXPECT_EQ(udp.socket->stats().truncated, 1u);
}

// --- addresses -----------------------------------------------------------------------------------

TEST(UdpSocket, AConnectedSocketHearsItsPeerOnly) {
  UdpHarness udp({}, "");
  const UdpPeer peer;
  const UdpPeer stranger;
  udp.address = udp.socket->connect(peer.address()).value();
  EXPECT_EQ(udp.socket->peer_address(), peer.address());
  ASSERT_TRUE(stranger.send(udp.address, "spam"));
  ASSERT_TRUE(peer.send(udp.address, "hello"));
  ASSERT_TRUE(udp.until_received(1));
  EXPECT_EQ(udp.received, std::vector<std::string>{"hello"});
  EXPECT_EQ(udp.socket->send("out"), DatagramResult::queued);
  run_turn(udp.loop);
  EXPECT_EQ(peer.receive(), "out");
}

TEST(UdpSocket, AnUnconnectedSocketHasNobodyToSendTo) {
  UdpHarness udp;
  EXPECT_EQ(udp.socket->send("out"), DatagramResult::closed);
  EXPECT_EQ(udp.socket->send_to(AddressView(), "out"), DatagramResult::closed);
}

TEST(UdpSocket, AConnectedUnixSocketGetsANameThatCanBeAnswered) {
  UdpHarness udp({}, "");
  const UdpPeer peer(abstract_address("named"));
  udp.address = udp.socket->connect(abstract_address("named")).value();
  ASSERT_EQ(udp.socket->send("ping"), DatagramResult::queued);
  run_turn(udp.loop);
  SocketAddress from;
  ASSERT_EQ(peer.receive(5000, &from), "ping");
  ASSERT_TRUE(peer.send(from, "pong"));
  ASSERT_TRUE(udp.until_received(1));
}

TEST(UdpSocket, AUnixPeerWithoutANameIsHeardAndCannotBeAnswered) {
  UdpHarness udp({}, abstract_address("nameless"));
  DatagramResult result = DatagramResult::queued;
  bool nameless = false;
  udp.on.datagrams = [&](UdpSocket& socket, std::span<const Datagram> batch) {
    nameless = batch[0].peer.empty();
    result = socket.reply(batch[0], "who?");
  };
  auto plain = Socket::datagram(SocketAddress::Family::unix_path).value();
  ASSERT_EQ(::sendto(plain.fd(), "x", 1, 0, udp.address.data(), udp.address.size()), 1);
  ASSERT_TRUE(udp.until_received(1));
  EXPECT_TRUE(nameless);
  EXPECT_EQ(result, DatagramResult::closed);
}

TEST(UdpSocket, AUnixPathIsMadeWithItsModeAndRemoved) {
  const TempFolder folder;
  const std::string path = folder.file("socket");
  {
    UdpHarness udp({.unix_mode = 0620}, "unix:" + path);
    EXPECT_EQ(mode_of(path), 0620u);
    UdpSocket second(udp.loop);
    const auto refused = second.bind("unix:" + path);
    ASSERT_FALSE(refused);
    EXPECT_EQ(refused.error().code(), Errno(EADDRINUSE));
  }
  EXPECT_FALSE(exists(path));
}

TEST(UdpSocket, AStaleUnixPathIsTakenOverAndAForeignFileIsNot) {
  const TempFolder folder;
  const std::string path = folder.file("socket");
  {
    const UdpPeer gone("unix:" + path);  // leaves its file
  }
  ASSERT_TRUE(exists(path));
  { UdpHarness udp({}, "unix:" + path); }
  EXPECT_FALSE(exists(path));

  const Fd file(::creat(path.c_str(), 0600));
  EventLoop loop;
  UdpSocket socket(loop);
  EXPECT_FALSE(socket.bind("unix:" + path));
  EXPECT_TRUE(exists(path));
}

TEST(UdpSocket, ErrorsOfSetUpSayWhatWasDone) {
  EventLoop loop;
  UdpSocket first(loop);
  const SocketAddress taken = first.bind("127.0.0.1:0").value();
  UdpSocket second(loop);
  const auto refused = second.bind(taken);
  ASSERT_FALSE(refused);
  EXPECT_EQ(refused.error().message(),
            "bind to " + taken.to_string() + ": bind: Address already in use");
  EXPECT_FALSE(second.bind("nonsense"));
  EXPECT_FALSE(second.connect("127.0.0.1"));
  EXPECT_FALSE(second.is_open());
  EXPECT_TRUE(second.bind("[::1]:0"));  // another family than the one that failed
  second.close();
  EXPECT_FALSE(second.bind("127.0.0.1:0"));
}

TEST(UdpSocket, ReusePortLetsSeveralBindOnePort) {
  EventLoop loop;
  UdpSocket first(loop, {.reuse_port = true});
  const SocketAddress address = first.bind("127.0.0.1:0").value();
  UdpSocket second(loop, {.reuse_port = true});
  EXPECT_EQ(second.bind(address).value(), address);
}

TEST(UdpSocket, PacketInfoTellsTheLocalAddressAndRepliesFromIt) {
  for (const char* where : {"0.0.0.0:0", "[::]:0"}) {
    UdpHarness udp({.packet_info = true}, where);
    SocketAddress local;
    unsigned interface = 0;
    udp.on.datagrams = [&](UdpSocket& socket, std::span<const Datagram> batch) {
      local = batch[0].local_address();
      interface = batch[0].interface_index();
      socket.reply(batch[0], batch[0].payload);
    };
    const UdpPeer peer("127.0.0.1:0");
    // Any address of 127/8 is ours; without packet info the answer would come from 127.0.0.1.
    const auto to = SocketAddress::from_ip("127.9.8.7", udp.address.port()).value();
    ASSERT_TRUE(peer.send(to, "hello"));
    ASSERT_TRUE(udp.until_received(1));
    EXPECT_EQ(local.without_v4_mapping().ip(), "127.9.8.7");
    EXPECT_EQ(interface, ::if_nametoindex("lo"));
    SocketAddress from;
    ASSERT_EQ(peer.receive(5000, &from), "hello");
    EXPECT_EQ(from, to);
  }
}

TEST(UdpSocket, PacketInfoOfAReplyThatHadToWait) {
  UdpHarness udp({.packet_info = true}, "0.0.0.0:0");
  udp.on.datagrams = echo_all;
  const UdpPeer peer("127.0.0.1:0");
  const auto to = SocketAddress::from_ip("127.9.8.7", udp.address.port()).value();
  udp.faults.on(Call::sendmmsg).nth(1).fail(EAGAIN);
  ASSERT_TRUE(peer.send(to, "hello"));
  ASSERT_TRUE(udp.until([&] { return udp.socket->stats().sent == 1; }));
  SocketAddress from;
  ASSERT_EQ(peer.receive(5000, &from), "hello");
  EXPECT_EQ(from, to);
}

// --- multicast, broadcast ------------------------------------------------------------------------

void expect_multicast(const char* bind, const char* to, unsigned interface) {
  UdpHarness udp({.multicast_interface = interface}, bind);
  const SocketAddress group = SocketAddress::parse(to)->with_port(udp.address.port());
  const auto joined = udp.socket->join(group, interface);
  ASSERT_TRUE(joined) << joined.error().message();
  EXPECT_FALSE(udp.socket->join(group, interface));  // EADDRINUSE
  udp.socket->send_to(group, "to all");
  ASSERT_TRUE(udp.until_received(1)) << to;
  EXPECT_EQ(udp.received[0], "to all");
  ASSERT_TRUE(udp.socket->leave(group, interface));
  udp.socket->send_to(group, "to nobody");
  run_for(udp.loop, std::chrono::milliseconds(30));
  EXPECT_EQ(udp.received.size(), 1u);
}

// Nothing can be sent from a group's address; and on "[::]" that of IPv4 looks like any other.
TEST(UdpSocket, AQuestionToAGroupIsAnsweredFromAnAddressOfOurs) {
  for (const char* where : {"0.0.0.0:0", "[::]:0"}) {
    UdpHarness udp({.packet_info = true}, where);
    udp.on.datagrams = echo_all;
    const unsigned lo = ::if_nametoindex("lo");
    const auto group = SocketAddress::parse("239.255.77.2:1")->with_port(udp.address.port());
    ASSERT_TRUE(udp.socket->join(group, lo));
    const UdpPeer peer;
    ip_mreqn by{};
    by.imr_ifindex = static_cast<int>(lo);
    ASSERT_EQ(::setsockopt(peer.fd(), IPPROTO_IP, IP_MULTICAST_IF, &by, sizeof(by)), 0);
    ASSERT_TRUE(peer.send(group, "anybody?"));
    ASSERT_TRUE(udp.until_received(1)) << where;
    SocketAddress from;
    EXPECT_EQ(peer.receive(5000, &from), "anybody?") << where;
    EXPECT_EQ(from.port(), udp.address.port());
    EXPECT_TRUE(udp.failures.empty());
  }
}

TEST(UdpSocket, MulticastReachesWhoHasJoinedUntilHeLeaves) {
  expect_multicast("0.0.0.0:0", "239.255.77.1:1", ::if_nametoindex("lo"));
  EventLoop loop;
  UdpSocket closed(loop);
  EXPECT_FALSE(closed.join(*SocketAddress::parse("239.255.77.1:1")));
}

// The loopback has no route for it.
bool has_link(const char* interface) {
  const UdpPeer any;
  ifreq request{};
  std::strncpy(request.ifr_name, interface, sizeof(request.ifr_name) - 1);
  return ::ioctl(any.fd(), SIOCGIFFLAGS, &request) == 0 && (request.ifr_flags & IFF_RUNNING) != 0;
}

TEST(UdpSocket, MulticastOverIpv6) {
  const bool done = in_net_namespace([] {
    ASSERT_TRUE(ip("link add v0 type veth peer name v1"));
    ASSERT_TRUE(ip("addr add fd01::1/64 dev v0 nodad"));
    ASSERT_TRUE(ip("link set v0 up") && ip("link set v1 up"));
    ASSERT_TRUE(wait_until([] { return has_link("v0"); })) << "the kernel does that later";
    expect_multicast("[::]:0", "[ff02::77%v0]:1", ::if_nametoindex("v0"));
  });
  if (!done) GTEST_SKIP() << kNoNamespace;
}

// On the loopback every socket receives everything, so the options are read back instead.
TEST(UdpSocket, MulticastOptionsReachTheKernel) {
  const unsigned loopback = ::if_nametoindex("lo");
  const auto option = [](UdpHarness& udp, int level, int name) {
    int value = -1;
    socklen_t length = sizeof(value);
    EXPECT_EQ(::getsockopt(udp.socket->fd(), level, name, &value, &length), 0);
    return value;
  };
  const UdpSocket::Options options{
      .multicast_ttl = 7, .multicast_loop = false, .multicast_interface = loopback};
  UdpHarness ipv4(options);
  EXPECT_EQ(option(ipv4, IPPROTO_IP, IP_MULTICAST_TTL), 7);
  EXPECT_EQ(option(ipv4, IPPROTO_IP, IP_MULTICAST_LOOP), 0);
  UdpHarness ipv6(options, "[::1]:0");
  EXPECT_EQ(option(ipv6, IPPROTO_IPV6, IPV6_MULTICAST_HOPS), 7);
  EXPECT_EQ(option(ipv6, IPPROTO_IPV6, IPV6_MULTICAST_LOOP), 0);
  EXPECT_EQ(option(ipv6, IPPROTO_IPV6, IPV6_MULTICAST_IF), static_cast<int>(loopback));
}

TEST(UdpSocket, BroadcastNeedsItsOption) {
  const auto everybody = SocketAddress::from_ip("127.255.255.255", 9).value();
  UdpHarness plain;
  plain.socket->send_to(everybody, "x");
  ASSERT_TRUE(plain.until([&] { return !plain.failures.empty(); }));
  EXPECT_EQ(plain.failures[0].error, Errno(EACCES));
  UdpHarness allowed({.broadcast = true});
  allowed.socket->send_to(everybody, "x");
  ASSERT_TRUE(allowed.until([&] { return allowed.socket->stats().sent == 1; }));
}

TEST(UdpSocket, InterfaceNamesAreNumbers) {
  EXPECT_EQ(interface_index("lo").value(), ::if_nametoindex("lo"));
  EXPECT_FALSE(interface_index("no such interface"));
}

TEST(UdpSocket, PausedItLeavesDatagramsToTheKernel) {
  UdpHarness udp;
  const UdpPeer peer;
  udp.socket->pause_receiving();
  udp.socket->pause_receiving();
  ASSERT_TRUE(peer.send(udp.address, "x"));
  udp.socket->resume_receiving();
  run_for(udp.loop, std::chrono::milliseconds(20));
  EXPECT_TRUE(udp.received.empty());
  udp.socket->resume_receiving();
  EXPECT_TRUE(udp.until_received(1));
}

// An IPv6 socket sends to groups of IPv4, too.
TEST(UdpSocket, MulticastOptionsCountForBothFamiliesOfAnIpv6Socket) {
  const unsigned lo = interface_index("lo").value();
  const auto option = [](int fd, int level, int name) {
    int value = -1;
    socklen_t length = sizeof(value);
    EXPECT_EQ(::getsockopt(fd, level, name, &value, &length), 0);
    return value;
  };
  for (const bool v6_only : {false, true}) {
    UdpHarness udp({.v6_only = v6_only,
                    .multicast_ttl = 7,
                    .multicast_loop = false,
                    .multicast_interface = lo},
                   "[::]:0");
    const int fd = udp.socket->fd();
    EXPECT_EQ(option(fd, IPPROTO_IPV6, IPV6_MULTICAST_HOPS), 7);
    EXPECT_EQ(option(fd, IPPROTO_IPV6, IPV6_MULTICAST_LOOP), 0);
    EXPECT_EQ(option(fd, IPPROTO_IPV6, IPV6_MULTICAST_IF), static_cast<int>(lo));
    EXPECT_EQ(option(fd, IPPROTO_IP, IP_MULTICAST_TTL), v6_only ? 1 : 7);
    EXPECT_EQ(option(fd, IPPROTO_IP, IP_MULTICAST_LOOP), v6_only ? 1 : 0);
    ip_mreqn request{};
    socklen_t length = sizeof(request);
    EXPECT_EQ(::getsockopt(fd, IPPROTO_IP, IP_MULTICAST_IF, &request, &length), 0);
  }
}

// The group was joined on this interface alone.
TEST(UdpSocket, AnIpv6SocketSendsToAGroupOfIpv4ByTheInterfaceNamed) {
  const unsigned lo = interface_index("lo").value();
  UdpHarness udp({}, "0.0.0.0:0");
  ASSERT_TRUE(udp.socket->join(SocketAddress::parse("239.77.77.77:1").value(), lo));
  UdpSocket sender(udp.loop, {.multicast_interface = lo});
  ASSERT_TRUE(sender.bind("[::]:0"));
  const std::string group = "[::ffff:239.77.77.77]:" + std::to_string(udp.address.port());
  EXPECT_EQ(sender.send_to(SocketAddress::parse(group).value(), "heard"), DatagramResult::queued);
  ASSERT_TRUE(udp.until_received(1)) << "it left by another interface";
  EXPECT_EQ(udp.received, std::vector<std::string>{"heard"});
}

}  // namespace
}  // namespace weir::test
