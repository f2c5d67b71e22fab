// Answers of the kernel to weir-sockstat, which may have any bytes: a datagram of messages, or the
// payload of one. Nothing is read beyond its end, the same is read if each message comes in its own
// datagram, and each socket that is read can be printed.
#include <linux/netlink.h>

#include <algorithm>
#include <cstdint>
#include <cstring>
#include <nlohmann/json.hpp>
#include <ranges>
#include <string>
#include <string_view>
#include <vector>

#include "fuzz/target.h"
#include "sockstat/diag_messages.h"
#include "sockstat/json.h"
#include "sockstat/text.h"
#include "weir/base/check_format.h"
#include "weir/base/utf8.h"

namespace weir::fuzz {
namespace {

constexpr std::uint32_t kSequence = 7;

void check_printed(const sockstat::Look& look) {
  const std::string text = sockstat::text_of(look, nullptr, {.connections = true}, false);
  for (const auto line : std::views::split(text, '\n')) {
    WEIR_CHECK(is_printable(std::string_view(line)), "not for a terminal: {}", text);
  }
  const std::string json = sockstat::json_of(look, nullptr, {.connections = true});
  WEIR_CHECK(nlohmann::json::accept(json), "no JSON: {}", json);
}

void read_payload(Bytes payload, sockstat::Look& look) {
  if (const auto tcp = sockstat::read_tcp(payload)) {
    if (look.connections.size() < 3) look.connections.push_back(*tcp);
  }
  if (const auto socket = sockstat::read_unix(payload)) {
    WEIR_CHECK(socket->name.size() <= payload.size(), "a name of {} bytes", socket->name.size());
    if (look.unix_connections.size() < 3) look.unix_connections.push_back(*socket);
  }
}

// The payloads of an answer, as views of its bytes, and how the answer ended.
struct Answer {
  std::vector<Bytes> payloads;
  std::string end;
};

void read_answer(Bytes datagram, Answer& answer) {
  const auto complete =
      sockstat::read_datagram(datagram, kSequence, [&](Bytes payload) -> Result<void> {
        answer.payloads.push_back(payload);
        return {};
      });
  answer.end = !complete ? complete.error().message() : *complete ? "complete" : "more";
  WEIR_CHECK(!answer.end.empty(), "an error without a sentence");
}

// The kernel may send the messages of an answer in any number of datagrams.
Answer read_apart(Bytes messages) {
  Answer answer{.payloads = {}, .end = "more"};
  while (!messages.empty() && answer.end == "more") {
    std::uint32_t length = 0;  // a message begins with it
    if (messages.size() >= sizeof(nlmsghdr)) std::memcpy(&length, messages.data(), sizeof(length));
    const bool whole = length >= sizeof(nlmsghdr) && length <= messages.size();
    const std::size_t size =
        whole ? std::min<std::size_t>(NLMSG_ALIGN(length), messages.size()) : messages.size();
    read_answer(messages.first(size), answer);
    messages = messages.subspan(size);
  }
  return answer;
}

void read_whole(Bytes bytes, sockstat::Look& look) {
  Answer answer;
  read_answer(bytes, answer);
  std::size_t seen = 0;
  for (const Bytes payload : answer.payloads) {
    WEIR_CHECK(payload.empty() || (payload.data() >= bytes.data() &&
                                   payload.data() + payload.size() <= bytes.data() + bytes.size()),
               "a payload outside the datagram");
    seen += payload.size();
    read_payload(payload, look);
  }
  WEIR_CHECK(seen <= bytes.size(), "{} bytes of payload in {}", seen, bytes.size());
  const Answer apart = read_apart(bytes);
  WEIR_CHECK(apart.end == answer.end, "'{}', and by single messages '{}'", answer.end, apart.end);
  WEIR_CHECK(std::ranges::equal(apart.payloads, answer.payloads, std::ranges::equal),
             "{} payloads, and by single messages {}", answer.payloads.size(),
             apart.payloads.size());
}

void fuzz_sockstat(Bytes input) {
  Script script(input);
  const bool whole = script.flag();
  // A copy of exactly these bytes, so that reading beyond them is found by ASan.
  const std::string_view rest = script.rest();
  const std::vector<char> copy(rest.begin(), rest.end());
  const Bytes bytes = std::as_bytes(std::span(copy));
  sockstat::Look look;
  HeapMeter heap;
  whole ? read_whole(bytes, look) : read_payload(bytes, look);
  heap.check(input.size());
  check_printed(look);
}

const Target kTarget("sockstat", fuzz_sockstat);

}  // namespace
}  // namespace weir::fuzz
