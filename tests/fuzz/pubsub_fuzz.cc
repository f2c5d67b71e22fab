// The protocol of weir-pubsub with three clients that send any bytes. Each line is answered once.
#include <memory>

#include "fuzz/protocol_target.h"
#include "pubsub/pubsub.h"
#include "weir/base/check_format.h"

namespace weir::fuzz {
namespace {

void check_answers(std::string_view answer) {
  while (!answer.empty()) {
    const std::string_view line = answer.substr(0, answer.find('\n'));
    WEIR_CHECK(line == "ok" || line.starts_with("error ") || line.starts_with("message "),
               "an unknown answer: {}", line);
    answer.remove_prefix(line.size() + 1);
  }
}

void fuzz_pubsub(Bytes input) {
  Script script(input);
  const std::size_t topics = 1 + script.byte() % 4;
  const std::size_t topics_each = 1 + script.byte() % 4;
  const auto make = [&](TcpServer& server) {
    return std::make_shared<PubSub>(server, topics, topics_each, SlowPolicy::skip);
  };
  for (const std::string& answer : check_protocol(make, script)) check_answers(answer);
}

const Target kTarget("pubsub", fuzz_pubsub);

}  // namespace
}  // namespace weir::fuzz
