// SocketAddress: from text and back, from the form of the kernel, comparison.
#include <cstddef>
#include <string>
#include <string_view>
#include <vector>

#include "bench.h"
#include "weir/net/socket/socket_address.h"

namespace weir::bench {
namespace {

constexpr const char* kIpv4 = "192.0.2.17:8080";
constexpr const char* kIpv6 = "[2001:db8::17]:8080";
constexpr const char* kUnix = "unix:/run/weir/chat.sock";

void parse_again(benchmark::State& state, const std::string& text, bool accepted) {
  Report report(state);
  std::int64_t as_expected = 0;
  for (auto _ : state) {
    benchmark::DoNotOptimize(text.data());
    benchmark::ClobberMemory();
    auto address = SocketAddress::parse(text);
    benchmark::DoNotOptimize(address);
    if (address.has_value() == accepted) ++as_expected;
  }
  report.done(as_expected);
}

void address_parse(benchmark::State& state, const std::string& text) {
  parse_again(state, text, true);
}
BENCHMARK_CAPTURE(address_parse, ipv4, kIpv4);
BENCHMARK_CAPTURE(address_parse, ipv6, kIpv6);
BENCHMARK_CAPTURE(address_parse, unix_path, kUnix);

// An invalid address, with its error message.
void address_refuse(benchmark::State& state) { parse_again(state, "192.0.2.256:8080", false); }
BENCHMARK(address_refuse);

void address_format(benchmark::State& state, const std::string& text) {
  auto address = SocketAddress::parse(text).value_or(SocketAddress());
  if (address.to_string() != text) {
    state.SkipWithError("to_string() differs from the text that was parsed");
    return;
  }
  Report report(state);
  for (auto _ : state) {
    benchmark::DoNotOptimize(address);
    std::string formatted = address.to_string();
    benchmark::DoNotOptimize(formatted.data());
    benchmark::ClobberMemory();
  }
  report.done(state.iterations());
}
BENCHMARK_CAPTURE(address_format, ipv4, kIpv4);
BENCHMARK_CAPTURE(address_format, ipv6, kIpv6);
BENCHMARK_CAPTURE(address_format, unix_path, kUnix);

void address_from_sockaddr(benchmark::State& state, const std::string& text) {
  const auto address = SocketAddress::parse(text).value_or(SocketAddress());
  Report report(state);
  for (auto _ : state) {
    benchmark::ClobberMemory();
    auto copy = SocketAddress::from_sockaddr(address.data(), address.size());
    benchmark::DoNotOptimize(copy);
  }
  report.done(state.iterations());
}
BENCHMARK_CAPTURE(address_from_sockaddr, ipv4, kIpv4);

// Two equal addresses: the longest comparison.
void address_equal(benchmark::State& state, const std::string& text) {
  auto a = SocketAddress::parse(text).value_or(SocketAddress());
  auto b = a;
  Report report(state);
  std::int64_t equal = 0;
  for (auto _ : state) {
    benchmark::DoNotOptimize(a);
    benchmark::DoNotOptimize(b);
    if (a == b) ++equal;
  }
  report.done(equal);
}
BENCHMARK_CAPTURE(address_equal, ipv4, kIpv4);
BENCHMARK_CAPTURE(address_equal, unix_path, kUnix);

void address_hash(benchmark::State& state, const std::string& text) {
  auto address = SocketAddress::parse(text).value_or(SocketAddress());
  Report report(state);
  for (auto _ : state) {
    benchmark::DoNotOptimize(address);
    benchmark::DoNotOptimize(address.hash());
  }
  report.done(state.iterations());
}
BENCHMARK_CAPTURE(address_hash, ipv4, kIpv4);
BENCHMARK_CAPTURE(address_hash, unix_path, kUnix);

}  // namespace
}  // namespace weir::bench
