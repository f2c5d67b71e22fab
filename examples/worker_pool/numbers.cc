#include "worker_pool/numbers.h"

namespace {

constexpr std::uint64_t kStepsBetweenChecks = 4096;

}  // namespace

// Trial division: slow on purpose, and needs no memory.
std::optional<std::uint64_t> count_primes(std::uint64_t most, const Cancelled& cancelled) {
  std::uint64_t count = most >= 2 ? 1 : 0;
  std::uint64_t steps = 0;
  for (std::uint64_t candidate = 3; candidate <= most && candidate >= 3; candidate += 2) {
    bool prime = true;
    for (std::uint64_t divisor = 3; divisor <= candidate / divisor && prime; divisor += 2) {
      prime = candidate % divisor != 0;
      if (++steps % kStepsBetweenChecks == 0 && cancelled()) return std::nullopt;
    }
    if (++steps % kStepsBetweenChecks == 0 && cancelled()) return std::nullopt;
    if (prime) ++count;
  }
  return count;
}

std::optional<std::vector<std::uint64_t>> factors(std::uint64_t number,
                                                  const Cancelled& cancelled) {
  std::vector<std::uint64_t> found;
  std::uint64_t steps = 0;
  for (std::uint64_t divisor = 2; number > 1 && divisor <= number / divisor;) {
    if (number % divisor == 0) {
      found.push_back(divisor);
      number /= divisor;
    } else {
      divisor += divisor == 2 ? 1 : 2;
    }
    if (++steps % kStepsBetweenChecks == 0 && cancelled()) return std::nullopt;
  }
  if (number > 1) found.push_back(number);
  return found;
}
