// The frame of a fuzz target: one file with one function of the input bytes. [one thread]
//
// libFuzzer calls the function in the preset `fuzz` (libfuzzer_main.cc), and the ordinary tests
// call it with each file of its corpus and with random bytes (replay_test.cc). A target checks with
// WEIR_CHECK, which aborts.
//
//   void fuzz_codec(Bytes input) { ... }
//   const Target kTarget("codec", fuzz_codec);
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace weir::fuzz {

using Bytes = std::span<const std::byte>;

class Target {
 public:
  // Adds the target to all(). `name` is also the name of the folder of its corpus.
  Target(const char* name, void (*body)(Bytes));
  Target(const Target&) = delete;
  Target& operator=(const Target&) = delete;
  // The targets that this program links.
  static const std::vector<const Target*>& all();

  const char* name() const { return name_; }
  // Calls the function, and checks that its time is linear in the size of the input.
  void run(Bytes input) const;

 private:
  const char* name_;
  void (*body_)(Bytes);
};

// Takes the decisions of a script from the front of the input. Behind its end they are all 0. Take
// at most one in the arguments of a call: compilers evaluate them in different orders.
class Script {
 public:
  explicit Script(Bytes input) : rest_(input) {}
  bool ended() const { return rest_.empty(); }
  std::uint8_t byte();
  bool flag() { return (byte() & 1) != 0; }
  // 0 to `most`, from one byte or, for a `most` above 255, from two.
  std::size_t up_to(std::size_t most);
  // The next bytes of the input, up_to(most) of them.
  std::string_view text(std::size_t most);
  // All bytes that are left.
  std::string_view rest();

 private:
  Bytes rest_;
};

// Text in which each place differs from those near it, for a stream whose order is to be checked:
// `size` bytes of an endless text, from `position` on.
std::string pattern(std::uint64_t position, std::size_t size);

// The heap that this thread has taken since the object was made. Sanitizers count each allocation,
// so the maximum is exact; other builds only see the sum at the time of check().
class HeapMeter {
 public:
  // A peer must not be able to take more than this for each byte that it sends, and this at once.
  static constexpr std::int64_t kPerByte = 4;
  static constexpr std::int64_t kAtOnce = 64 * 1024;

  HeapMeter();
  HeapMeter(const HeapMeter&) = delete;
  HeapMeter& operator=(const HeapMeter&) = delete;
  // Aborts if the maximum since the last check() was more than the two limits allow.
  void check(std::size_t received);

 private:
  std::int64_t before_;
};

}  // namespace weir::fuzz
