#include "load/numbers.h"

#include <algorithm>

namespace weir::load {

std::uint64_t Numbers::error_count() const {
  std::uint64_t sum = 0;
  for (const auto& [kind, count] : errors) sum += count;
  return sum;
}

void Numbers::merge(const Numbers& other) {
  connected += other.connected;
  sent += other.sent;
  messages += other.messages;
  warmup_messages += other.warmup_messages;
  lost += other.lost;
  reordered += other.reordered;
  again += other.again;
  latency.merge(other.latency);
  connect_latency.merge(other.connect_latency);
  lateness.merge(other.lateness);
  for (const auto& [kind, count] : other.errors) errors[kind] += count;
  if (first_difference.empty()) first_difference = other.first_difference;
  measured_from = std::min(measured_from, other.measured_from);
  last_message = std::max(last_message, other.last_message);
  threads.insert(threads.end(), other.threads.begin(), other.threads.end());
}

}  // namespace weir::load
