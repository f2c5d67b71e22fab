// The format of calls and answers, for both ends. A message is JSON after four bytes with its
// length, most significant byte first:
//
//   {"id": 7, "method": "add", "params": [1, 2]}
//   {"id": 7, "result": 3}      or      {"id": 7, "error": "there is no method \"ad\""}
//
// Answers may come in any order; the id names the call that is answered. A message that is not JSON
// is answered with the id null. [any]
#pragma once

#include <cstddef>
#include <nlohmann/json.hpp>
#include <string>
#include <string_view>

#include "weir/base/result.h"
#include "weir/net/codec/length_prefixed_codec.h"

namespace rpc {

using Json = nlohmann::json;

// Bytes of a message. Parsed, it takes at most some 50 times as much memory.
inline constexpr std::size_t kMaxMessage = 64 * 1024;
// Nesting of arrays and objects. Without a limit, recursion over a message of brackets alone would
// exhaust the stack.
inline constexpr int kMaxDepth = 32;

weir::LengthPrefixedCodec codec();

// An error if the text is not JSON, or nested too deep.
weir::Result<Json> parse(std::string_view text);

// One line of ASCII, safe to print on a terminal.
std::string to_text(const Json& value);

}  // namespace rpc
