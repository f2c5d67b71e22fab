// A stranger's test: weir::testing without a test framework.
#include <chrono>
#include <memory>
#include <string>

#include "weir/net/testing/connected_pair.h"
#include "weir/net/testing/fake_clock.h"
#include "weir/net/testing/run_until.h"

namespace {

struct Echo final : weir::ConnectionHandler {
  void on_data(weir::TcpConnection& conn, weir::Buffer& in) override { conn.send(in); }
};

struct Notes final : weir::ConnectionHandler {
  std::string received;
  void on_data(weir::TcpConnection&, weir::Buffer& in) override { received += in.take(); }
};

}  // namespace

int main() {
  using namespace std::chrono_literals;
  weir::testing::FakeClock clock;
  weir::EventLoop loop;
  const auto notes = std::make_shared<Notes>();
  weir::testing::ConnectedPair pair(loop, std::make_shared<Echo>(), notes, {.idle_timeout = 5min});
  pair.second()->send("hello");
  if (!weir::testing::run_until(loop, [&] { return notes->received == "hello"; })) return 1;
  clock.advance(6min);
  return weir::testing::run_until(loop, [&] { return pair.first() == nullptr; }) ? 0 : 2;
}
