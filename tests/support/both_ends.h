// A server and a client that connects to it, each on the loop that the test names, with the events
// of both counted. [both loops]
#pragma once

#include <gtest/gtest.h>

#include <utility>

#include "support/counted_events.h"
#include "weir/net/tcp/tcp_client.h"
#include "weir/net/tcp/tcp_server.h"

namespace weir::test {

struct BothEnds {
  BothEnds(EventLoop& server_loop, EventLoop& client_loop, TcpServer::Options server_options = {},
           TcpClient::Options client_options = {})
      : server(server_loop, std::move(server_options)),
        client(client_loop, std::move(client_options)) {
    server.use_handler(at_server.unowned());
    client.use_handler(at_client.unowned());
    const auto address = server.listen("127.0.0.1:0");
    EXPECT_TRUE(address && client.connect(*address));
  }
  explicit BothEnds(EventLoop& loop, TcpServer::Options server_options = {},
                    TcpClient::Options client_options = {})
      : BothEnds(loop, loop, std::move(server_options), std::move(client_options)) {}
  bool open() const { return at_server.calls.open > 0 && at_client.calls.open > 0; }

  CountedEvents at_server;
  CountedEvents at_client;
  TcpServer server;
  TcpClient client;
};

}  // namespace weir::test
