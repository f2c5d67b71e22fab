#include "length_prefixed/rpc_client.h"

#include <chrono>
#include <memory>
#include <utility>
#include <vector>

#include "weir/base/log.h"
#include "weir/base/log_limit.h"
#include "weir/net/codec/framed_handler.h"

using rpc::Json;
using weir::Error;

namespace {

// After close(), for a server that still works on calls whose deadline has passed.
constexpr weir::Duration kLinger = std::chrono::milliseconds(500);

}  // namespace

// Passes the events of the connection to the RpcClient, which outlives every call of this handler.
class RpcClient::Handler final : public weir::FramedHandler<weir::LengthPrefixedCodec> {
 public:
  explicit Handler(RpcClient& client) : FramedHandler(rpc::codec()), client_(client) {}

  void on_open(weir::TcpConnection& conn) override { client_.opened(conn); }
  void on_frame(weir::TcpConnection&, std::string_view text) override { client_.received(text); }
  void on_close(weir::TcpConnection&, weir::CloseReason reason) override { client_.ended(reason); }

 private:
  RpcClient& client_;
};

RpcClient::RpcClient(weir::EventLoop& loop, weir::Duration connect_timeout)
    : loop_(loop),
      handler_(std::make_shared<Handler>(*this)),
      client_(loop, {.connect_timeout = connect_timeout, .linger_timeout = kLinger}) {
  client_.use_handler(handler_);
  client_.on_connect_error([this](const Error& error, int) { settle_all(error); });
}

RpcClient::~RpcClient() {
  for (const auto& [id, call] : in_flight_) loop_.cancel(call.deadline);
}

weir::Result<void> RpcClient::connect(const weir::SocketAddress& address) {
  return client_.connect(address);
}

void RpcClient::call(const std::string& method, const Json& params, weir::Duration deadline,
                     Answered answered) {
  const std::uint64_t id = ++last_id_;
  Call call{.message = rpc::to_text({{"id", id}, {"method", method}, {"params", params}}),
            .answered = std::move(answered)};
  const auto end_after = [this, id](weir::Duration delay, const Error& error) {
    return loop_.run_after(delay, [this, id, error] { settle(id, std::unexpected(error)); });
  };
  if (const std::size_t size = call.message.size(); size > rpc::kMaxMessage) {
    call.message.clear();
    call.deadline = end_after(weir::Duration::zero(),
                              Error("the call has " + std::to_string(size) + " bytes, more than " +
                                    std::to_string(rpc::kMaxMessage)));
  } else {
    if (deadline > weir::Duration::zero()) {
      call.deadline = end_after(deadline, Error("no answer in time"));
    }
    if (weir::TcpConnection* conn = client_.connection().get()) send(*conn, call);
  }
  in_flight_.emplace(id, std::move(call));
}

// The result of send_frame() is not needed: when the connection ends, all calls get an error.
void RpcClient::send(weir::TcpConnection& conn, const Call& call) {
  if (!call.message.empty()) static_cast<void>(handler_->send_frame(conn, call.message));
}

void RpcClient::opened(weir::TcpConnection& conn) {
  for (std::uint64_t id = 1; id <= last_id_; ++id) {  // in the order of the calls
    const auto call = in_flight_.find(id);
    if (call != in_flight_.end()) send(conn, call->second);
  }
}

// settle() ignores an answer that comes after the deadline of its call.
void RpcClient::received(std::string_view text) {
  const auto answer = rpc::parse(text);
  const Json id = answer && answer->is_object() ? answer->value("id", Json()) : Json();
  if (!id.is_number_unsigned()) {
    static weir::LogLimit limit(1);  // line a second
    weir::write_log(weir::LogLevel::warn, limit,
                    "an answer without the id of a call: " + weir::escaped(text));
  } else if (answer->contains("result")) {
    settle(id.get<std::uint64_t>(), answer->at("result"));
  } else {
    settle(id.get<std::uint64_t>(),
           std::unexpected(Error("refused: " + rpc::to_text(answer->value("error", Json())))));
  }
}

void RpcClient::settle(std::uint64_t id, weir::Result<Json> result) {
  auto settled = in_flight_.extract(id);
  if (settled.empty()) return;
  loop_.cancel(settled.mapped().deadline);
  settled.mapped().answered(std::move(result));
}

void RpcClient::settle_all(const Error& error) {
  std::vector<std::uint64_t> ids;  // a callback may make another call
  ids.reserve(in_flight_.size());
  for (const auto& [id, call] : in_flight_) ids.push_back(id);
  for (const std::uint64_t id : ids) settle(id, std::unexpected(error));
}

void RpcClient::close(std::move_only_function<void()> closed) {
  if (client_.state() == weir::TcpClient::State::connected) {
    closed_ = std::move(closed);
    client_.close();
  } else {
    client_.close();
    settle_all(Error("closed"));
    closed();
  }
}

void RpcClient::ended(weir::CloseReason reason) {
  settle_all(Error("the connection ended: " + reason.to_string()));
  if (closed_) std::exchange(closed_, nullptr)();
}
