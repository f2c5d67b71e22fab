// RpcClient: calls to one server; any number of calls may be in flight. [loop]
//
//   RpcClient client(loop, 5s);
//   client.connect(address);
//   client.call("add", {1, 2}, 1s, [](const weir::Result<rpc::Json>& result) { ... });
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <unordered_map>

#include "length_prefixed/protocol.h"
#include "weir/base/clock.h"
#include "weir/base/result.h"
#include "weir/net/reactor/event_loop.h"
#include "weir/net/socket/socket_address.h"
#include "weir/net/tcp/tcp_client.h"

class RpcClient {
 public:
  // Gets the result, or an error: the server refused, the deadline passed, the call is too large
  // for a message, or the connection ended.
  using Answered = std::move_only_function<void(weir::Result<rpc::Json>)>;

  RpcClient(weir::EventLoop& loop, weir::Duration connect_timeout);
  ~RpcClient();
  RpcClient(const RpcClient&) = delete;
  RpcClient& operator=(const RpcClient&) = delete;

  weir::Result<void> connect(const weir::SocketAddress& address);

  // `answered` is called once, but never inside call() and not after the destructor. Calls that are
  // made before the connection is open are sent when it opens. The deadline counts from this call;
  // zero: none.
  void call(const std::string& method, const rpc::Json& params, weir::Duration deadline,
            Answered answered);

  // Closes the connection in order, then calls `closed`; at once if there is no connection. Calls
  // still in flight get an error.
  void close(std::move_only_function<void()> closed);

 private:
  class Handler;
  struct Call {
    std::string message;  // empty: too large to send
    weir::TimerId deadline{};
    Answered answered;
  };

  void send(weir::TcpConnection& conn, const Call& call);
  void opened(weir::TcpConnection& conn);
  void received(std::string_view text);
  void settle(std::uint64_t id, weir::Result<rpc::Json> result);
  void settle_all(const weir::Error& error);
  void ended(weir::CloseReason reason);

  weir::EventLoop& loop_;
  std::uint64_t last_id_ = 0;
  std::unordered_map<std::uint64_t, Call> in_flight_;  // by id
  std::move_only_function<void()> closed_;
  std::shared_ptr<Handler> handler_;
  weir::TcpClient client_;
};
