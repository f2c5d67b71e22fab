// serve(): a restart that is one option.
#include "weir/net/tcp/serve.h"

#include <gtest/gtest.h>

#include <atomic>
#include <chrono>
#include <filesystem>
#include <memory>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "support/loops.h"
#include "support/test_client.h"
#include "weir/net/tcp/tcp_server.h"

namespace weir::test {
namespace {

using namespace std::chrono_literals;

// A program of one page on a thread of its own: answers with its name, until it is told to end or
// was taken over.
class Served {
 public:
  Served(std::string name, std::vector<std::string> addresses, const std::string& point)
      : thread_([this, name = std::move(name), addresses = std::move(addresses), point] {
          EventLoop loop;
          TcpServer server(loop);
          server.on_data([&](TcpConnection& c, Buffer& in) {
            in.clear();
            c.send(name);
          });
          loop.run_every(1ms, [&] {
            if (stop_) loop.stop();
          });
          code_ = serve(loop, server, addresses, {.deadline = 1s, .hand_over = point, .grace = 0s});
          ended_ = true;
        }) {}
  ~Served() { stop(); }

  bool ended() const { return ended_; }
  int stop() {
    stop_ = true;
    if (thread_.joinable()) thread_.join();
    return code_;
  }

 private:
  std::atomic<bool> stop_{false};
  std::atomic<bool> ended_{false};
  std::atomic<int> code_{-1};
  std::thread thread_;
};

class Serve : public testing::Test {
 protected:
  // Who answers at the path: empty when nobody does.
  std::string answers() const {
    TestClient client;
    if (!std::filesystem::exists(socket_)) return "";
    client.connect(SocketAddress::parse("unix:" + socket_).value());
    client.send_all("?");
    return client.receive_exactly(3);
  }

  const std::string folder_ = [] {
    std::string name = std::filesystem::temp_directory_path() / "weir-serve-XXXXXX";
    return std::string(::mkdtemp(name.data()));
  }();
  const std::string socket_ = folder_ + "/socket";
  const std::string point_ = folder_ + "/point";
  ~Serve() override { std::filesystem::remove_all(folder_); }
};

TEST_F(Serve, F59_TheSecondTakesOverFromTheFirstAndTheThirdFromTheSecond) {
  auto serving = std::make_unique<Served>("one", std::vector{"unix:" + socket_}, point_);
  ASSERT_TRUE(wait_until([&] { return std::filesystem::exists(point_); }));
  EXPECT_EQ(answers(), "one");
  for (const std::string name : {"two", "six"}) {
    auto next = std::make_unique<Served>(name, std::vector<std::string>{}, point_);
    ASSERT_TRUE(wait_until([&] { return serving->ended(); }));
    EXPECT_EQ(serving->stop(), 0);
    EXPECT_EQ(answers(), name);
    serving = std::move(next);
  }
  EXPECT_EQ(serving->stop(), 0);
  EXPECT_FALSE(std::filesystem::exists(point_));
  EXPECT_FALSE(std::filesystem::exists(socket_));
}

TEST_F(Serve, WhatIsRefusedIsToldByTheCode) {
  EventLoop loop;
  TcpServer server(loop);
  EXPECT_EQ(serve(loop, server, {"nonsense"}), 2);
  EXPECT_EQ(serve(loop, server, {"unix:" + folder_ + "/none/socket"}), 1);
  EXPECT_EQ(serve(loop, server, {}, {.hand_over = folder_ + "/none/point"}), 1);
}

}  // namespace
}  // namespace weir::test
