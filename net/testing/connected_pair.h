// ConnectedPair: two connections of one loop over a socketpair(2), each with a handler of the test.
// Uses no port, no network and no other thread. [loop]
//
//   weir::EventLoop loop;
//   weir::testing::ConnectedPair pair(loop, std::make_shared<MyServer>(),
//                                     std::make_shared<MyClient>());
//   pair.second()->send("hello\n");
//   EXPECT_TRUE(weir::testing::run_until(loop, [&] { return ...; }));
#pragma once

#include <memory>

#include "weir/base/export.h"
#include "weir/net/reactor/event_loop.h"
#include "weir/net/stream/connection_handler.h"
#include "weir/net/stream/connection_ref.h"
#include "weir/net/stream/tcp_connection.h"
#include "weir/net/tcp/tcp_server.h"

namespace weir {
namespace WEIR_EXPORT testing {

class ConnectedPair {
 public:
  // Runs turns of the loop until on_open of both handlers was called. `options` apply to both
  // connections; threads must be 0 and pool null. Throws SystemError if socketpair(2) fails or a
  // handler waits for messages longer than max_input.
  ConnectedPair(EventLoop& loop, std::shared_ptr<ConnectionHandler> first,
                std::shared_ptr<ConnectionHandler> second, TcpServer::Options options = {});
  // Resets open connections, without a call of on_close.
  ~ConnectedPair();
  ConnectedPair(const ConnectedPair&) = delete;
  ConnectedPair& operator=(const ConnectedPair&) = delete;

  // nullptr after the connection has ended.
  TcpConnection* first() const;
  TcpConnection* second() const;

 private:
  class Side;
  std::unique_ptr<Side> first_;
  std::unique_ptr<Side> second_;
};

}  // namespace testing
}  // namespace weir
