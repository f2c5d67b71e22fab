// What a call and an answer look like, for both ends. A message is JSON behind four bytes that say
// how long it is, most significant first:
//
//   {"id": 7, "method": "add", "params": [1, 2]}
//   {"id": 7, "result": 3}      or      {"id": 7, "error": "there is no method \"ad\""}
//
// Answers may come in any order; the id says to which call one belongs. A message that is not even
// JSON is answered with the id null. [any]
#pragma once

#include <cstddef>
#include <nlohmann/json.hpp>
#include <string>
#include <string_view>

#include "weir/base/result.h"
#include "weir/net/codec/length_prefixed_codec.h"

namespace rpc {

using Json = nlohmann::json;

// Of a message. What it makes in memory is at most some 50 times as much.
inline constexpr std::size_t kMaxMessage = 64 * 1024;
// Of arrays and objects within each other, or a message of brackets alone would take the stack of
// whoever walks through it.
inline constexpr int kMaxDepth = 32;

weir::LengthPrefixedCodec codec();

// An error: no JSON, or too deep.
weir::Result<Json> parse(std::string_view text);

// On one line, in ASCII, so that it may go to a terminal.
std::string to_text(const Json& value);

}  // namespace rpc
