// The protocol of weir-chat-server with three clients that send any bytes.
#include <memory>

#include "chat/chat.h"
#include "fuzz/protocol_target.h"

namespace weir::fuzz {
namespace {

void fuzz_chat(Bytes input) {
  Script script(input);
  const std::size_t history = script.byte() % 4;
  const auto make = [&](TcpServer&) {
    return std::make_shared<chat::Chat>(chat::Chat::Options{.history = history, .rate = 0});
  };
  check_protocol(make, script);
}

const Target kTarget("chat", fuzz_chat);

}  // namespace
}  // namespace weir::fuzz
