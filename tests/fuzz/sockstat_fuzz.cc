// Answers of the kernel to weir-sockstat, which may have any bytes: a datagram of messages, or the
// payload of one. Nothing is read beyond its end, and each socket that is read can be printed.
#include <cstring>
#include <nlohmann/json.hpp>
#include <string>
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
  for (const char c : text) {
    WEIR_CHECK(c == '\n' || (c >= ' ' && c <= '~'), "not for a terminal: {}", int{c});
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

void fuzz_sockstat(Bytes input) {
  Script script(input);
  const bool whole = script.flag();
  // A copy of exactly these bytes, so that reading beyond them is found by ASan.
  const std::string_view rest = script.rest();
  const std::vector<char> copy(rest.begin(), rest.end());
  const Bytes bytes = std::as_bytes(std::span(copy));
  sockstat::Look look;
  HeapMeter heap;
  if (whole) {
    std::size_t seen = 0;
    const auto outcome =
        sockstat::read_datagram(bytes, kSequence, [&](Bytes payload) -> Result<void> {
          WEIR_CHECK(
              payload.empty() || (payload.data() >= bytes.data() &&
                                  payload.data() + payload.size() <= bytes.data() + bytes.size()),
              "a payload outside the datagram");
          seen += payload.size();
          read_payload(payload, look);
          return {};
        });
    WEIR_CHECK(seen <= bytes.size(), "{} bytes of payload in {}", seen, bytes.size());
    WEIR_CHECK(outcome || !outcome.error().message().empty(), "an error without a sentence");
  } else {
    read_payload(bytes, look);
  }
  heap.check(input.size());
  check_printed(look);
}

const Target kTarget("sockstat", fuzz_sockstat);

}  // namespace
}  // namespace weir::fuzz
