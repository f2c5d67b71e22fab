// ConnectedPair: two connections of one loop, joined by a pair of sockets, each with the handler
// that a test gives it. No port, no network, no other thread. [loop]
//
//   weir::EventLoop loop;
//   weir::testing::ConnectedPair pair(loop, std::make_shared<MyServer>(),
//   std::make_shared<MyClient>()); pair.second()->send("hello\n");
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
  // Turns the loop until both handlers had their on_open. `options`: of both connections, as of a
  // server; threads must be 0. Throws SystemError when there are no descriptors.
  ConnectedPair(EventLoop& loop, std::shared_ptr<ConnectionHandler> first,
                std::shared_ptr<ConnectionHandler> second, TcpServer::Options options = {});
  // Resets what is still open, without a call of on_close.
  ~ConnectedPair();
  ConnectedPair(const ConnectedPair&) = delete;
  ConnectedPair& operator=(const ConnectedPair&) = delete;

  // nullptr when it has ended.
  TcpConnection* first() const;
  TcpConnection* second() const;

 private:
  class Side;
  std::unique_ptr<Side> first_;
  std::unique_ptr<Side> second_;
};

}  // namespace testing
}  // namespace weir
