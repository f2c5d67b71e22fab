#include "fuzz/target.h"

#include <algorithm>
#include <chrono>
#include <cstring>
#include <ctime>

#include "weir/base/check_format.h"

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define WEIR_FUZZ_SANITIZED 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer) || __has_feature(thread_sanitizer)
#define WEIR_FUZZ_SANITIZED 1
#endif
#endif
#ifdef WEIR_FUZZ_SANITIZED
// As in <sanitizer/allocator_interface.h>, which GCC does not install.
extern "C" int __sanitizer_install_malloc_and_free_hooks(
    void (*on_malloc)(const volatile void* block, std::size_t size),
    void (*on_free)(const volatile void* block));
extern "C" std::size_t __sanitizer_get_allocated_size(const volatile void* block);
#else
#include "support/allocations.h"
#endif

namespace weir::fuzz {
namespace {

using std::chrono::microseconds;
using std::chrono::nanoseconds;

// The time that an input may take: many times what the slowest step of a script takes with
// sanitizers, and far below a quadratic algorithm on an input of 4 KiB.
constexpr nanoseconds kAnyInput = microseconds(20'000);
constexpr nanoseconds kEachByte = microseconds(40);
// A slow input is repeated: the machine may have been busy.
constexpr int kTrials = 5;

nanoseconds cpu_time() {
  timespec time{};
  ::clock_gettime(CLOCK_THREAD_CPUTIME_ID, &time);
  return std::chrono::seconds(time.tv_sec) + nanoseconds(time.tv_nsec);
}

#ifdef WEIR_FUZZ_SANITIZED
thread_local std::int64_t heap_now = 0;
thread_local std::int64_t heap_most = 0;

void count_allocation(const volatile void*, std::size_t size) {
  heap_now += static_cast<std::int64_t>(size);
  heap_most = std::max(heap_most, heap_now);
}
void count_free(const volatile void* block) {
  heap_now -= static_cast<std::int64_t>(__sanitizer_get_allocated_size(block));
}
[[maybe_unused]] const int kHooked =
    __sanitizer_install_malloc_and_free_hooks(count_allocation, count_free);
#endif

std::vector<const Target*>& registered() {
  static std::vector<const Target*> targets;
  return targets;
}

}  // namespace

Target::Target(const char* name, void (*body)(Bytes)) : name_(name), body_(body) {
  registered().push_back(this);
}

const std::vector<const Target*>& Target::all() { return registered(); }

void Target::run(Bytes input) const {
  const nanoseconds allowed = kAnyInput + kEachByte * static_cast<std::int64_t>(input.size());
  const auto start = std::chrono::steady_clock::now();
  body_(input);
  if (std::chrono::steady_clock::now() - start <= allowed) [[likely]]
    return;
  nanoseconds least = nanoseconds::max();
  for (int trial = 0; trial < kTrials && least > allowed; ++trial) {
    const nanoseconds before = cpu_time();
    body_(input);
    least = std::min(least, cpu_time() - before);
  }
  WEIR_CHECK(least <= allowed, "{}: {} bytes take {} us of processor time, {} are allowed", name_,
             input.size(), least.count() / 1000, allowed.count() / 1000);
}

std::uint8_t Script::byte() {
  if (rest_.empty()) return 0;
  const auto value = std::to_integer<std::uint8_t>(rest_.front());
  rest_ = rest_.subspan(1);
  return value;
}

std::size_t Script::up_to(std::size_t most) {
  std::size_t value = byte();
  if (most > 0xff) value = value << 8 | byte();
  return value % (most + 1);
}

std::string_view Script::text(std::size_t most) {
  const std::size_t wanted = up_to(most);
  const std::size_t size = std::min(wanted, rest_.size());
  const std::string_view text(reinterpret_cast<const char*>(rest_.data()), size);
  rest_ = rest_.subspan(size);
  return text;
}

std::string_view Script::rest() {
  const Bytes all = std::exchange(rest_, {});
  return {reinterpret_cast<const char*>(all.data()), all.size()};
}

std::string pattern(std::uint64_t position, std::size_t size) {
  std::string text(size, '\0');
  for (std::size_t i = 0; i < size; ++i) {
    const std::uint64_t at = position + i;
    text[i] = static_cast<char>(at ^ at >> 8 ^ at >> 16);
  }
  return text;
}

#ifdef WEIR_FUZZ_SANITIZED
HeapMeter::HeapMeter() : before_(heap_now) { heap_most = heap_now; }

void HeapMeter::check(std::size_t received) {
  const std::int64_t taken = std::exchange(heap_most, heap_now) - before_;
#else
HeapMeter::HeapMeter() : before_(test::live_heap().bytes) {}

void HeapMeter::check(std::size_t received) {
  const std::int64_t taken = test::live_heap().bytes - before_;
#endif
  WEIR_CHECK(taken <= kAtOnce + kPerByte * static_cast<std::int64_t>(received),
             "{} bytes of heap for {} bytes received", taken, received);
}

}  // namespace weir::fuzz
