// What grows between two looks, and how looks are written.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <nlohmann/json.hpp>

#include "sockstat/growth.h"
#include "sockstat/json.h"
#include "sockstat/terminal.h"
#include "sockstat/text.h"

namespace weir::sockstat::test {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;
using ::testing::Not;
using ::testing::StartsWith;

Look some_look() {
  Look look;
  look.listeners.push_back({.address = "127.0.0.1:7000",
                            .endpoint = {},
                            .queue = 0,
                            .limit = 2,
                            .drops = 3,
                            .inode = 5});
  look.states[static_cast<std::size_t>(State::listen)] = 1;
  look.states[static_cast<std::size_t>(State::time_wait)] = 10;
  look.host = {.listen_overflows = 4, .listen_drops = 6};
  look.somaxconn = 4096;
  return look;
}

TEST(SockstatText, OneLook) {
  const std::string text = text_of(some_look(), nullptr, {.port = 7000}, false);
  EXPECT_EQ(text,
            "listener        accept queue  limit  half-open  dropped\n"
            "127.0.0.1:7000             0      2          0        3\n"
            "whole machine, not this server alone: 4 accept queue overflows, 6 SYNs dropped; "
            "net.core.somaxconn 4096\n"
            "\n"
            "LISTEN           1   ESTABLISHED      0   CLOSE_WAIT       0   CLOSING          0\n"
            "SYN_SENT         0   FIN_WAIT_1       0   LAST_ACK         0   TIME_WAIT       10\n"
            "SYN_RECV         0   FIN_WAIT_2       0   CLOSED           0\n");
}

TEST(SockstatText, NobodyThere) {
  EXPECT_THAT(text_of({}, nullptr, {.port = 7000}, false),
              StartsWith("nobody listens on port 7000\n"));
  EXPECT_THAT(text_of({}, nullptr, {.pid = 12}, false), StartsWith("process 12 does not listen\n"));
  EXPECT_THAT(text_of({}, nullptr, {}, false), StartsWith("nobody listens\n"));
}

TEST(SockstatText, WhatGrows) {
  const Look before = some_look();
  Look now = before;
  now.listeners[0].queue = 3;
  now.listeners[0].drops = 8;
  now.host.listen_overflows = 9;
  for (const State state :
       {State::time_wait, State::close_wait, State::syn_recv, State::established}) {
    now.states[static_cast<std::size_t>(state)] += 2;
  }
  const std::string text = text_of(now, &before, {.port = 7000}, false);
  EXPECT_THAT(text, HasSubstr("     8 +5  FULL\n"));
  EXPECT_THAT(text, HasSubstr("9 +5 accept queue overflows, 6 SYNs dropped"));
  EXPECT_THAT(text, HasSubstr("TIME_WAIT       12 +2"));
  EXPECT_THAT(text, HasSubstr("ESTABLISHED      2 +2"));
  EXPECT_THAT(text, HasSubstr("\n127.0.0.1:7000 FULL: the program does not accept"));
  EXPECT_THAT(text, HasSubstr("\nTIME_WAIT +2: this side closes first"));
  EXPECT_THAT(text, HasSubstr("\nCLOSE_WAIT +2: the peer has closed"));
  EXPECT_THAT(text, HasSubstr("\nSYN_RECV +2: handshakes wait"));
  EXPECT_THAT(text, Not(HasSubstr("\x1b")));
  EXPECT_THAT(text_of(now, &before, {.port = 7000}, true),
              HasSubstr("\x1b[1mTIME_WAIT +2\x1b[0m: this side"));
  EXPECT_THAT(text, Not(HasSubstr("dropped +"))) << "FULL says it";
  const std::string bold = text_of(now, &before, {.port = 7000}, true);
  EXPECT_THAT(bold, HasSubstr("     8 \x1b[1m+5\x1b[0m  \x1b[1mFULL\x1b[0m\n"));
  EXPECT_THAT(bold, HasSubstr("9 \x1b[1m+5\x1b[0m accept queue overflows"));
  // The other way round nothing grows.
  EXPECT_THAT(text_of(before, &now, {.port = 7000}, false),
              AllOf(Not(HasSubstr("+")), Not(HasSubstr("FULL"))));
}

TEST(SockstatText, AQueueThatWasFullBetweenTwoLooks) {
  const Look before = some_look();
  Look now = before;
  now.listeners[0].drops = 8;
  const std::string text = text_of(now, &before, {.port = 7000}, false);
  EXPECT_THAT(text, HasSubstr("\n127.0.0.1:7000             0      2          0     8 +5\n"));
  EXPECT_THAT(text, HasSubstr("\n127.0.0.1:7000 dropped +5: SYNs or last ACKs of clients"));
  EXPECT_TRUE(remarks(now, nullptr).empty());
}

// Connections may be many, and the end of a text is what a screen has no room for.
TEST(SockstatText, RemarksComeBeforeConnections) {
  Look now = some_look();
  now.listeners[0].queue = 3;
  now.connections.emplace_back();
  const std::string text = text_of(now, nullptr, {.connections = true}, false);
  EXPECT_THAT(text, HasSubstr("CLOSED           0\n\n127.0.0.1:7000 FULL: "));
  EXPECT_THAT(text, HasSubstr("retry after a second\n\nlocal "));
}

TEST(SockstatTerminal, WidthsLeaveEscapesOut) {
  EXPECT_EQ(width_of(""), 0u);
  EXPECT_EQ(width_of("abc"), 3u);
  EXPECT_EQ(width_of("a\x1b[1mb\x1b[0m"), 2u);
  EXPECT_EQ(width_of("\x1b[1mab\x1b[0mc"), 3u);
  EXPECT_EQ(width_of("a\x1b[1"), 1u) << "an escape that does not end";
}

TEST(SockstatTerminal, LinesTakeAsManyRowsAsTheyNeed) {
  const std::string clean = "\x1b[K\n";
  EXPECT_EQ(in_place("a\nb\n", 3, 10), "\x1b[Ha" + clean + "b" + clean + "\x1b[J");
  EXPECT_EQ(in_place("a\nb\nc\n", 3, 10), "\x1b[Ha" + clean + "b" + clean + "... 1 mor\x1b[J");
  EXPECT_EQ(in_place("\n0123456789\nab\n", 5, 10),
            "\x1b[H" + clean + "0123456789\nab" + clean + "\x1b[J")
      << "nothing is erased behind a full row";
  EXPECT_EQ(in_place("0123456789abc\nx\ny\n", 4, 10),
            "\x1b[H0123456789abc" + clean + "x" + clean + "... 1 mor\x1b[J");
  EXPECT_EQ(in_place("\x1b[1m012345678\x1b[0m\nx\n", 3, 10),
            "\x1b[H\x1b[1m012345678\x1b[0m" + clean + "x" + clean + "\x1b[J");
  EXPECT_EQ(in_place("0123456789abc\nx\n", 2, 10), "\x1b[H... 2 mor\x1b[J");
}

TEST(SockstatText, ALimitThatIsSomaxconnIsSaid) {
  Look now = some_look();
  now.listeners[0].limit = 4096;
  EXPECT_THAT(text_of(now, nullptr, {}, false),
              HasSubstr("limit is somaxconn: it caps the backlog\n"));
  now.listeners[0].queue = 4097;
  EXPECT_THAT(text_of(now, nullptr, {}, false), HasSubstr("FULL, limit is somaxconn"));
}

TEST(SockstatText, Times) {
  using namespace std::chrono_literals;
  EXPECT_EQ(short_time(87us), "87 us");
  EXPECT_EQ(short_time(1200us), "1.2 ms");
  EXPECT_EQ(short_time(59'900ms), "59.9 s");
  EXPECT_EQ(short_time(600s), "10 min");
  EXPECT_EQ(short_time(3h), "3 h");
}

TEST(SockstatText, Connections) {
  Look now = some_look();
  TcpSocket socket;
  socket.state = State::time_wait;
  socket.timer = Timer::time_wait;
  socket.timer_ms = 58'000;
  socket.local.port = 7000;
  now.connections.push_back(socket);
  UnixSocket local;
  local.name = std::string("\0\x1b", 2);
  now.unix_connections.push_back(local);
  const std::string text = text_of(now, nullptr, {.connections = true}, false);
  EXPECT_THAT(text,
              HasSubstr("\n0.0.0.0:7000  0.0.0.0:0  TIME_WAIT       0       0    -            "
                        "-     -         -     -  gone in 58.0 s\n"));
  EXPECT_THAT(text, HasSubstr("\nunix:@\\x1b"));
}

TEST(SockstatJson, SaysTheSame) {
  const Look before = some_look();
  Look now = before;
  now.listeners[0].queue = 3;
  now.listeners[0].drops = 8;
  now.states[static_cast<std::size_t>(State::close_wait)] = 2;
  now.at += std::chrono::milliseconds(1500);
  TcpSocket socket;
  socket.state = State::established;
  socket.details = TcpDetails{.rtt_us = 15, .bytes_sent = 7, .bytes_received = 9};
  socket.uid = 1000;
  now.connections.push_back(socket);
  now.connections.push_back({.state = State::time_wait, .local = {}, .peer = {}});
  const std::string line = json_of(now, &before, {.port = 7000, .connections = true});
  EXPECT_EQ(std::ranges::count(line, '\n'), 0);
  const auto json = nlohmann::json::parse(line);
  EXPECT_EQ(json["time"], 1.5);
  EXPECT_EQ(json["port"], 7000);
  EXPECT_TRUE(json["pid"].is_null());
  EXPECT_EQ(json["states"].size(), kStates);
  EXPECT_EQ(json["states"]["TIME_WAIT"], 10);
  EXPECT_EQ(json["grown"], (nlohmann::json{{"CLOSE_WAIT", 2}}));
  EXPECT_EQ(json["listeners"][0]["full"], true);
  EXPECT_EQ(json["listeners"][0]["drops_since_last_look"], 5);
  EXPECT_EQ(json["host"]["somaxconn"], 4096);
  EXPECT_EQ(json["connections"][0]["bytes_received"], 9);
  EXPECT_EQ(json["connections"][0]["state"], "ESTABLISHED");
  EXPECT_EQ(json["connections"][0]["uid"], 1000);
  EXPECT_TRUE(json["connections"][1]["uid"].is_null()) << "TIME_WAIT is no program's";
  EXPECT_TRUE(json["connections"][1]["retransmits_now"].is_null());
  EXPECT_TRUE(json["unix_connected"].is_null()) << "not looked at";
  EXPECT_EQ(json["remarks"].size(), 2u);
  EXPECT_FALSE(nlohmann::json::parse(json_of(now, nullptr, {})).contains("grown"));
}

}  // namespace
}  // namespace weir::sockstat::test
