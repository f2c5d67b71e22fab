#include "length_prefixed/protocol.h"

namespace rpc {

weir::LengthPrefixedCodec codec() { return weir::LengthPrefixedCodec({.max_frame = kMaxMessage}); }

weir::Result<Json> parse(std::string_view text) {
  bool too_deep = false;
  const auto limit_depth = [&too_deep](int depth, Json::parse_event_t, const Json&) {
    if (depth >= kMaxDepth) too_deep = true;
    return depth < kMaxDepth;  // discards deeper values
  };
  Json value = Json::parse(text, limit_depth, /*allow_exceptions=*/false);
  if (too_deep) {
    return std::unexpected(weir::Error("the message is nested more than 32 deep"));
  }
  if (value.is_discarded()) return std::unexpected(weir::Error("the message is not JSON"));
  return value;
}

std::string to_text(const Json& value) {
  return value.dump(-1, ' ', /*ensure_ascii=*/true, Json::error_handler_t::replace);
}

}  // namespace rpc
