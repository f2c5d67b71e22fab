// weir-rpc: calls methods of a weir-rpc-server and prints the answers.
//
// Several calls, separated by commas, are all in flight at once; each answer is printed when it
// arrives. Each call has its own deadline, which includes the time to connect. A call that fails
// does not affect the others. Answers are printed in ASCII, so a server cannot control the
// terminal. The exit code is 0 only if every call has got a result.

#include <chrono>
#include <cstdio>
#include <string>
#include <utility>
#include <vector>

#include "common/command_line.h"
#include "length_prefixed/protocol.h"
#include "length_prefixed/rpc_client.h"
#include "weir/base/log.h"
#include "weir/net/reactor/event_loop.h"
#include "weir/net/socket/socket_address.h"

namespace {

using rpc::Json;

struct Call {
  std::string method;
  Json params = Json::array();
  std::string text;  // as typed
};

// A word that is JSON is that value, any other word a string: add 1 2, echo hello, echo '{"a":
// [1]}'.
Json parameter(const std::string& word) { return rpc::parse(word).value_or(Json(word)); }

std::vector<Call> calls_of(const std::vector<std::string>& words) {
  std::vector<Call> calls(1);
  for (const std::string& word : words) {
    Call& call = calls.back();
    if (word == ",") {
      calls.emplace_back();
    } else if (call.method.empty()) {
      call.method = call.text = word;
    } else {
      call.params.push_back(parameter(word));
      call.text += " " + word;
    }
  }
  std::erase_if(calls, [](const Call& call) { return call.method.empty(); });
  return calls;
}

int run(const weir::SocketAddress& address, const std::vector<Call>& calls,
        weir::Duration timeout) {
  weir::EventLoop loop;
  RpcClient client(loop, timeout);
  if (auto begun = client.connect(address); !begun) return weir::fail(begun.error());
  std::size_t open = calls.size();
  int code = 0;
  for (const Call& call : calls) {
    client.call(call.method, call.params, timeout, [&](const weir::Result<Json>& result) {
      const std::string which = calls.size() > 1 ? weir::escaped(call.text) + ": " : "";
      if (result) {
        std::printf("%s%s\n", which.c_str(), rpc::to_text(*result).c_str());
        std::fflush(stdout);
      } else {
        code = weir::fail(weir::Error(which + result.error().message()));
      }
      if (--open == 0) client.close([&] { loop.stop(); });
    });
  }
  loop.run();
  return code;
}

}  // namespace

int main(int argc, char** argv) {
  std::string text;
  std::vector<std::string> words;
  weir::Duration timeout = std::chrono::seconds(10);
  CLI::App app("Calls methods of a weir-rpc-server; commas separate several calls.", "weir-rpc");
  sample::seconds_option(app, "--timeout", timeout, "that each call may take; 0: no limit");
  sample::address_option(app, "address", text, "the server");
  sample::words_option(app, "call", words, "METHOD ARGS... [, METHOD ARGS...]");
  return sample::run(app, argc, argv, [&] {
    const std::vector<Call> calls = calls_of(words);
    if (calls.empty()) {
      weir::fail(weir::Error("a method to call is missing; see weir-rpc --help"));
      return 2;
    }
    return run(weir::SocketAddress::parse(text).value(), calls, timeout);
  });
}
