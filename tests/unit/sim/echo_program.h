// EchoProgram: a server and a client in a simulated world, for the tests of weir::sim.
#pragma once

#include <gtest/gtest.h>

#include <string>
#include <utility>

#include "weir/net/sim/world.h"
#include "weir/net/tcp/tcp_client.h"
#include "weir/net/tcp/tcp_server.h"

namespace weir::test {

// A server that returns everything, and a client that sends one text.
struct EchoProgram {
  explicit EchoProgram(sim::World& world, std::string text = "hello")
      : sent(std::move(text)),
        server(world.host("server").loop()),
        client(world.host("client").loop()) {
    server.on_data([](TcpConnection& connection, Buffer& in) { connection.send(in); });
    client.on_open([this](TcpConnection& connection) { connection.send(sent); });
    client.on_data([this](TcpConnection& connection, Buffer& in) {
      got += in.take();
      if (got.size() >= sent.size()) connection.close();
    });
    client.on_close([this](TcpConnection&, CloseReason) { ended = true; });
    client.on_connect_error([this](const Error& error, int) {
      failure = error.message();
      ended = true;
    });
    const auto address = server.listen("127.0.0.1:7000");
    EXPECT_TRUE(address.has_value());
    EXPECT_TRUE(client.connect(*address).has_value());
  }

  std::string sent;
  std::string got;
  std::string failure;
  bool ended = false;
  TcpServer server;
  TcpClient client;
};

}  // namespace weir::test
