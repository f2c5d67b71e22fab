#include "sockstat/diag_messages.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <linux/tcp.h>

#include <random>

#include "made_messages.h"

namespace weir::sockstat::test {
namespace {

using ::testing::HasSubstr;

constexpr std::uint32_t kSequence = 7;

tcp_info some_info() {
  tcp_info info{};
  info.tcpi_rtt = 1500;
  info.tcpi_total_retrans = 4;
  info.tcpi_bytes_sent = 1000;
  info.tcpi_bytes_received = 2000;
  info.tcpi_last_data_sent = 900;
  info.tcpi_last_data_recv = 300;
  return info;
}

Bytes meminfo(std::uint32_t drops) {
  std::array<std::uint32_t, SK_MEMINFO_VARS> values{};
  values[SK_MEMINFO_DROPS] = drops;
  return attribute(INET_DIAG_SKMEMINFO, bytes_of(values));
}

Bytes tcp_payload() {
  Bytes payload = bytes_of(tcp_head(State::established));
  append(payload, meminfo(9));
  append(payload, attribute(INET_DIAG_INFO, bytes_of(some_info())));
  return payload;
}

Bytes unix_payload() {
  Bytes payload = bytes_of(unix_diag_msg{.udiag_family = AF_UNIX,
                                         .udiag_type = SOCK_STREAM,
                                         .udiag_state = 10,
                                         .pad = 0,
                                         .udiag_ino = 12,
                                         .udiag_cookie = {}});
  append(payload, unix_name("/run/x"));
  append(payload, attribute(UNIX_DIAG_RQLEN,
                            bytes_of(unix_diag_rqlen{.udiag_rqueue = 2, .udiag_wqueue = 5})));
  append(payload, attribute(UNIX_DIAG_UID, bytes_of(std::uint32_t{1000})));
  return payload;
}

struct Reading {
  Result<bool> outcome = false;
  int messages = 0;
};

Reading read_all(const Bytes& datagram) {
  Reading reading;
  reading.outcome =
      read_datagram(datagram, kSequence, [&](std::span<const std::byte> payload) -> Result<void> {
        ++reading.messages;
        EXPECT_LE(payload.size(), datagram.size());
        return {};
      });
  return reading;
}

TEST(DiagMessages, ATcpSocket) {
  const auto socket = read_tcp(tcp_payload());
  ASSERT_TRUE(socket) << socket.error().message();
  EXPECT_EQ(socket->state, State::established);
  EXPECT_EQ(socket->local.text(), "10.0.0.1:7000");
  EXPECT_EQ(socket->peer.text(), "10.0.0.2:40000");
  EXPECT_EQ(socket->receive_queue, 3u);
  EXPECT_EQ(socket->send_queue, 2u);
  EXPECT_EQ(socket->uid, 1000u);
  EXPECT_EQ(socket->inode, 4711u);
  EXPECT_EQ(socket->drops, 9u);
  ASSERT_TRUE(socket->details);
  EXPECT_EQ(socket->details->rtt_us, 1500u);
  EXPECT_EQ(socket->details->retransmits, 4u);
  EXPECT_EQ(socket->details->bytes_sent, 1000u);
  EXPECT_EQ(socket->details->bytes_received, 2000u);
  EXPECT_EQ(socket->details->idle.count(), 300);
}

TEST(DiagMessages, Ipv6WithMappedAddressesAndScope) {
  inet_diag_msg head = tcp_head(State::time_wait);
  head.idiag_family = AF_INET6;
  head.idiag_timer = 3;
  head.idiag_expires = 59'000;
  in6_addr mapped{};
  mapped.s6_addr[10] = mapped.s6_addr[11] = 0xff;
  mapped.s6_addr[12] = 127;
  mapped.s6_addr[15] = 1;
  std::memcpy(head.id.idiag_src, &mapped, sizeof(mapped));
  in6_addr local{};
  local.s6_addr[0] = 0xfe;
  local.s6_addr[1] = 0x80;
  local.s6_addr[15] = 1;
  std::memcpy(head.id.idiag_dst, &local, sizeof(local));
  head.id.idiag_if = 1;
  const auto socket = read_tcp(bytes_of(head));
  ASSERT_TRUE(socket);
  EXPECT_EQ(socket->local.text(), "[::ffff:127.0.0.1]:7000");
  EXPECT_EQ(socket->local.without_v4_mapping().text(), "127.0.0.1:7000");
  EXPECT_EQ(socket->peer.text(), "[fe80::1%lo]:40000");
  EXPECT_EQ(socket->timer, Timer::time_wait);
  EXPECT_EQ(socket->timer_ms, 59'000u);
  EXPECT_FALSE(socket->details);
  EXPECT_FALSE(socket->drops);
  EXPECT_FALSE(socket->retransmits_now) << "not kept in TIME_WAIT";
}

TEST(DiagMessages, AListenerForIpv6Alone) {
  inet_diag_msg head = tcp_head(State::listen);
  head.idiag_family = AF_INET6;
  for (const bool only : {false, true}) {
    Bytes payload = bytes_of(head);
    append(payload, attribute(INET_DIAG_SKV6ONLY, bytes_of(only)));
    EXPECT_EQ(read_tcp(payload)->v6_only, only);
  }
  EXPECT_FALSE(read_tcp(bytes_of(head))->v6_only) << "not told";
  Bytes empty = bytes_of(head);
  append(empty, attribute(INET_DIAG_SKV6ONLY, {}));
  EXPECT_FALSE(read_tcp(empty)->v6_only);
}

TEST(DiagMessages, WhatNoProgramHasIsNobodys) {
  inet_diag_msg head = tcp_head(State::syn_recv);
  head.idiag_retrans = 2;
  head.idiag_inode = 0;
  head.idiag_uid = 0;
  const auto socket = read_tcp(bytes_of(head));
  ASSERT_TRUE(socket);
  EXPECT_FALSE(socket->uid) << "not root's";
  EXPECT_EQ(socket->retransmits_now, 2u);
}

TEST(DiagMessages, AnOlderKernelSaysLess) {
  // Before 4.19 tcp_info ended before tcpi_bytes_sent, before 4.1 it had no bytes at all.
  Bytes info = bytes_of(some_info());
  info.resize(offsetof(tcp_info, tcpi_bytes_sent));
  Bytes payload = bytes_of(tcp_head(State::established));
  append(payload, attribute(INET_DIAG_INFO, info));
  auto socket = read_tcp(payload);
  ASSERT_TRUE(socket && socket->details);
  EXPECT_FALSE(socket->details->bytes_sent);
  EXPECT_EQ(socket->details->bytes_received, 2000u);

  info.resize(offsetof(tcp_info, tcpi_pacing_rate));
  payload = bytes_of(tcp_head(State::established));
  append(payload, attribute(INET_DIAG_INFO, info));
  socket = read_tcp(payload);
  ASSERT_TRUE(socket);
  EXPECT_FALSE(socket->details);
}

TEST(DiagMessages, ANewerKernelSaysMore) {
  Bytes info = bytes_of(some_info());
  info.resize(info.size() + 64);
  Bytes payload = bytes_of(tcp_head(State::established));
  append(payload, attribute(200, Bytes(33)));
  append(payload, attribute(INET_DIAG_INFO, info));
  const auto socket = read_tcp(payload);
  ASSERT_TRUE(socket && socket->details);
  EXPECT_EQ(socket->details->rtt_us, 1500u);
}

TEST(DiagMessages, AUnixSocket) {
  const auto socket = read_unix(unix_payload());
  ASSERT_TRUE(socket);
  EXPECT_TRUE(socket->stream);
  EXPECT_EQ(socket->state, UnixSocket::State::listening);
  EXPECT_EQ(socket->inode, 12u);
  EXPECT_EQ(socket->text(), "unix:/run/x");
  EXPECT_EQ(socket->receive_queue, 2u);
  EXPECT_EQ(socket->send_queue, 5u);
  EXPECT_EQ(socket->uid, 1000u);
}

TEST(DiagMessages, NamesOfUnixSocketsCannotDriveATerminal) {
  Bytes payload = bytes_of(unix_diag_msg{.udiag_family = AF_UNIX,
                                         .udiag_type = SOCK_STREAM,
                                         .udiag_state = 1,
                                         .pad = 0,
                                         .udiag_ino = 1,
                                         .udiag_cookie = {}});
  Bytes abstract = payload;
  append(abstract, unix_name(std::string_view("\0\x1b[2Jx", 6)));
  EXPECT_EQ(read_unix(abstract)->text(), "unix:@\\x1b[2Jx");
  Bytes path = payload;
  append(path, unix_name(std::string_view("/a\nb\0", 5)));
  EXPECT_EQ(read_unix(path)->text(), "unix:/a\\x0ab");
  EXPECT_EQ(read_unix(payload)->text(), "unix:");
  Bytes full = payload;  // a path that leaves no room for its NUL
  append(full, unix_name("/run/" + std::string(102, 'x') + "\n"));
  EXPECT_EQ(read_unix(full)->text(), "unix:/run/" + std::string(102, 'x') + "\\n");
  Bytes much = payload;
  append(much, unix_name(std::string(4000, 'x')));
  EXPECT_EQ(read_unix(much)->text(), "unix:");
}

TEST(DiagMessages, ADatagramOfSeveralAndTheEnd) {
  Bytes datagram = message(SOCK_DIAG_BY_FAMILY, kSequence, tcp_payload());
  append(datagram, message(SOCK_DIAG_BY_FAMILY, kSequence - 1, tcp_payload()));  // given up before
  append(datagram, message(SOCK_DIAG_BY_FAMILY, kSequence, tcp_payload()));
  Reading reading = read_all(datagram);
  EXPECT_EQ(reading.messages, 2);
  ASSERT_TRUE(reading.outcome);
  EXPECT_FALSE(*reading.outcome) << "more follows";
  append(datagram, message(NLMSG_DONE, kSequence, bytes_of(int{0})));
  reading = read_all(datagram);
  ASSERT_TRUE(reading.outcome);
  EXPECT_TRUE(*reading.outcome);
  EXPECT_TRUE(*read_all(message(NLMSG_DONE, kSequence, {})).outcome);
  EXPECT_FALSE(*read_all({}).outcome);
}

TEST(DiagMessages, WhatTheKernelRefuses) {
  Reading reading = read_all(message(NLMSG_ERROR, kSequence, bytes_of(nlmsgerr{-ENOENT, {}})));
  ASSERT_FALSE(reading.outcome);
  EXPECT_EQ(reading.outcome.error().code(), ENOENT);
  EXPECT_FALSE(*read_all(message(NLMSG_ERROR, kSequence, bytes_of(nlmsgerr{0, {}}))).outcome);
  reading = read_all(message(NLMSG_DONE, kSequence, bytes_of(int{-EINVAL})));
  ASSERT_FALSE(reading.outcome);
  EXPECT_EQ(reading.outcome.error().code(), EINVAL);
  EXPECT_FALSE(read_all(message(NLMSG_ERROR, kSequence, {})).outcome);
  EXPECT_FALSE(read_all(message(NLMSG_ERROR, kSequence, bytes_of(INT32_MIN))).outcome);
  EXPECT_FALSE(read_all(message(NLMSG_OVERRUN, kSequence, {})).outcome);
}

TEST(DiagMessages, AnErrorOfWhoReadsEndsIt) {
  const auto outcome = read_datagram(
      message(SOCK_DIAG_BY_FAMILY, kSequence, tcp_payload()), kSequence,
      [](std::span<const std::byte>) -> Result<void> { return std::unexpected(Error("enough")); });
  ASSERT_FALSE(outcome);
  EXPECT_EQ(outcome.error().message(), "enough");
}

TEST(DiagMessages, LengthsThatCannotBe) {
  const Bytes good = message(SOCK_DIAG_BY_FAMILY, kSequence, tcp_payload());
  for (const std::uint32_t length : {0u, 1u, 15u, 100'000u, ~0u, ~0u - 2}) {
    Bytes bad = good;
    std::memcpy(bad.data(), &length, sizeof(length));
    const Reading reading = read_all(bad);
    ASSERT_FALSE(reading.outcome) << length;
    EXPECT_THAT(reading.outcome.error().message(), HasSubstr("impossible length"));
  }
  for (std::size_t size = 1; size < good.size(); ++size) {
    EXPECT_FALSE(read_all(Bytes(good.begin(), good.begin() + static_cast<long>(size))).outcome);
  }
}

// Each prefix, in memory of just its size, so that a byte beyond it would be found.
TEST(DiagMessages, WhatIsCutOffIsAnErrorOrLeftOut) {
  for (const Bytes& whole : {tcp_payload(), unix_payload()}) {
    for (std::size_t size = 0; size < whole.size(); ++size) {
      const Bytes part(whole.begin(), whole.begin() + static_cast<long>(size));
      EXPECT_EQ(read_tcp(part).has_value(),
                size >= sizeof(inet_diag_msg) && whole == tcp_payload());
      EXPECT_EQ(read_unix(part).has_value(),
                size >= sizeof(unix_diag_msg) && whole == unix_payload());
    }
  }
}

TEST(DiagMessages, StatesAndFamiliesThatAreNone) {
  for (const unsigned state : {0u, 12u, 13u, 255u}) {
    inet_diag_msg head = tcp_head(State::listen);
    head.idiag_state = static_cast<std::uint8_t>(state);
    EXPECT_FALSE(read_tcp(bytes_of(head))) << state;
  }
  inet_diag_msg head = tcp_head(State::listen);
  head.idiag_family = AF_UNIX;
  EXPECT_FALSE(read_tcp(bytes_of(head)));
}

TEST(DiagMessages, AttributesThatLie) {
  for (const std::uint16_t length : std::initializer_list<std::uint16_t>{0, 1, 3, 5000, 65535}) {
    Bytes payload = bytes_of(tcp_head(State::established));
    Bytes bad = meminfo(1);
    std::memcpy(bad.data(), &length, sizeof(length));
    append(payload, bad);
    append(payload, meminfo(2));
    const auto socket = read_tcp(payload);
    ASSERT_TRUE(socket);
    EXPECT_FALSE(socket->drops) << "nothing behind it can be found";
  }
}

TEST(DiagMessages, RandomBytesDoNoHarm) {
  std::mt19937 random(4711);
  const Bytes good = message(SOCK_DIAG_BY_FAMILY, kSequence, tcp_payload());
  for (int round = 0; round < 20'000; ++round) {
    Bytes bytes = good;
    for (int i = 0; i < 1 + round % 8; ++i) {
      bytes[random() % bytes.size()] = static_cast<std::byte>(random());
    }
    bytes.resize(1 + random() % bytes.size());
    static_cast<void>(read_datagram(bytes, kSequence, [](std::span<const std::byte> payload) {
      static_cast<void>(read_unix(payload));
      return read_tcp(payload).has_value() ? Result<void>()
                                           : Result<void>(std::unexpected(Error("no")));
    }));
  }
}

TEST(DiagMessages, Requests) {
  const auto request = tcp_request(true, {.states = 0xffe, .details = true}, 3);
  ASSERT_EQ(request.size(), sizeof(nlmsghdr) + sizeof(inet_diag_req_v2));
  inet_diag_req_v2 body{};
  std::memcpy(&body, request.data() + sizeof(nlmsghdr), sizeof(body));
  EXPECT_EQ(body.sdiag_family, AF_INET6);
  EXPECT_EQ(body.idiag_states, 0xffeu);
  EXPECT_EQ(body.idiag_ext, 1 << (INET_DIAG_INFO - 1));
  EXPECT_EQ(body.id.idiag_sport, 0) << "any";
  const auto of_port = tcp_request(false, {.states = 2, .local_port = 7000, .drops = true}, 3);
  std::memcpy(&body, of_port.data() + sizeof(nlmsghdr), sizeof(body));
  EXPECT_EQ(body.sdiag_family, AF_INET);
  EXPECT_EQ(body.idiag_ext, 1 << (INET_DIAG_SKMEMINFO - 1));
  EXPECT_EQ(body.id.idiag_sport, htons(7000));
  EXPECT_EQ(unix_request(4).size(), sizeof(nlmsghdr) + sizeof(unix_diag_req));
}

}  // namespace
}  // namespace weir::sockstat::test
