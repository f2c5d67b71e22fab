// weir-rpc-server: answers calls that come as length-prefixed JSON (protocol.h).
//
//   echo ANYTHING...   its parameters
//   add NUMBER...      their sum
//   sleep MS           MS, after MS milliseconds
//   methods            the names of all methods
//
// Every mistake of a caller is answered, and the connection stays open unless the framing is
// broken. Size and depth of a message are limited before it is parsed. A slow call delays no other
// call, so answers may overtake each other. A client with kMaxInFlight calls in flight is not read
// until one is answered. All calls are answered before a half-closed connection, or the server,
// ends. The calls of a client that has disconnected are cancelled.

#include <chrono>
#include <cmath>
#include <cstdint>
#include <functional>
#include <list>
#include <map>
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "common/command_line.h"
#include "length_prefixed/protocol.h"
#include "weir/net/codec/framed_handler.h"
#include "weir/net/reactor/event_loop.h"
#include "weir/net/service/serve.h"
#include "weir/net/stream/connection_ref.h"
#include "weir/net/tcp/tcp_server.h"

namespace {

using rpc::Json;

// Calls of one client; further calls wait on the client's side.
constexpr std::size_t kMaxInFlight = 64;
constexpr std::int64_t kLongestSleep = 60'000;  // milliseconds

struct Client {
  std::list<weir::TimerId> sleeping;  // one for each call in flight
};

class Server final : public weir::FramedHandler<weir::LengthPrefixedCodec> {
 public:
  Server() : FramedHandler(rpc::codec()) {}

  void on_open(weir::TcpConnection& conn) override { conn.set_context<Client>(); }

  void on_frame(weir::TcpConnection& conn, std::string_view text) override {
    const auto call = rpc::parse(text);
    if (!call) {
      refuse(conn, nullptr, call.error().message());
      return;
    }
    const Json id = member(*call, "id");
    const Json method = member(*call, "method");
    const Json params = member(*call, "params");
    if (!id.is_number_integer() || !method.is_string() || !params.is_array()) {
      refuse(conn, id.is_number_integer() ? id : nullptr,
             "a call is an object with an integer id, a method and an array params");
      return;
    }
    const auto found = methods_.find(method.get<std::string>());
    if (found == methods_.end()) {
      refuse(conn, id, "unknown method; call \"methods\" for the list");
      return;
    }
    found->second(conn, id, params);
  }

  void on_close(weir::TcpConnection& conn, weir::CloseReason) override {
    for (const weir::TimerId timer : conn.context<Client>()->sleeping) conn.loop().cancel(timer);
  }

  // The length is too large, so the following bytes cannot be parsed.
  void on_frame_error(weir::TcpConnection& conn, const weir::Error& error) override {
    refuse(conn, nullptr, error.message());
    FramedHandler::on_frame_error(conn, error);
  }

 private:
  // A method answers the call `id`, now or later.
  using Method = std::function<void(weir::TcpConnection&, const Json& id, const Json& params)>;

  static Json member(const Json& call, const char* name) {
    return call.is_object() ? call.value(name, Json()) : Json();
  }

  void answer(weir::TcpConnection& conn, const Json& id, const Json& result) const {
    const std::string text = rpc::to_text({{"id", id}, {"result", result}});
    // In ASCII a result can be longer than the parameters were.
    if (text.size() > rpc::kMaxMessage) {
      refuse(conn, id, "the result is too long for a message");
    } else {
      static_cast<void>(send_frame(conn, text));
    }
  }

  void refuse(weir::TcpConnection& conn, const Json& id, const std::string& why) const {
    static_cast<void>(send_frame(conn, rpc::to_text({{"id", id}, {"error", why}})));
  }

  void add(weir::TcpConnection& conn, const Json& id, const Json& params) const {
    double sum = 0;
    for (const Json& one : params) {
      if (!one.is_number()) {
        refuse(conn, id, "add takes numbers");
        return;
      }
      sum += one.get<double>();
    }
    if (!std::isfinite(sum)) {
      refuse(conn, id, "the sum is too large for a number");  // JSON has no infinity
      return;
    }
    const bool whole = std::trunc(sum) == sum && std::abs(sum) < 1e15;
    answer(conn, id, whole ? Json(static_cast<std::int64_t>(sum)) : Json(sum));
  }

  // Stands for a slow call, such as a query to a database.
  void sleep(weir::TcpConnection& conn, const Json& id, const Json& params) {
    const bool one = params.size() == 1 && params[0].is_number_unsigned();
    if (!one || params[0].get<std::uint64_t>() > kLongestSleep) {
      refuse(conn, id, "sleep takes milliseconds, at most 60000");
      return;
    }
    conn.hold_open();
    auto& sleeping = conn.context<Client>()->sleeping;
    const auto mine = sleeping.emplace(sleeping.end());
    const auto time = std::chrono::milliseconds(params[0].get<std::int64_t>());
    *mine = conn.loop().run_after(time, [this, ref = conn.ref(), mine, id, params] {
      weir::TcpConnection* const back = ref.get();
      if (back == nullptr) return;  // disconnected
      answer(*back, id, params[0]);
      auto& left = back->context<Client>()->sleeping;
      if (left.size() == kMaxInFlight) back->resume_reading();
      left.erase(mine);
      back->release();
    });
    if (sleeping.size() == kMaxInFlight) conn.pause_reading();
  }

  const std::map<std::string, Method> methods_ = {
      {"add", [this](auto& conn, const auto& id, const auto& params) { add(conn, id, params); }},
      {"echo",
       [this](auto& conn, const auto& id, const auto& params) { answer(conn, id, params); }},
      {"methods",
       [this](auto& conn, const auto& id, const auto&) {
         answer(conn, id, {"add", "echo", "methods", "sleep"});
       }},
      {"sleep",
       [this](auto& conn, const auto& id, const auto& params) { sleep(conn, id, params); }}};
};

}  // namespace

int main(int argc, char** argv) {
  std::vector<std::string> listen = {"127.0.0.1:7010"};
  weir::TcpServer::Options options{.max_connections_per_peer = 100,
                                   .idle_timeout = std::chrono::minutes(5),
                                   .message_timeout = std::chrono::seconds(30),
                                   .high_water = 256 * 1024};
  CLI::App app("Answers calls that come as length-prefixed JSON.", "weir-rpc-server");
  sample::listen_option(app, listen);
  sample::threads_option(app, options.threads);
  sample::per_client_option(app, options.max_connections_per_peer);
  sample::seconds_option(app, "--idle-timeout", options.idle_timeout,
                         "of silence after which a client is disconnected; 0: never");
  return sample::run(app, argc, argv, [&] {
    weir::EventLoop loop;
    weir::TcpServer server(loop, options);
    server.use_handler(std::make_shared<Server>());
    return weir::serve(loop, server, listen);
  });
}
