// Buffer: append, consume, the lent block of a loop, search, integers.
#include <array>
#include <cstddef>
#include <memory>
#include <string>
#include <utility>

#include "bench.h"
#include "weir/net/buffer/buffer.h"

namespace weir::bench {
namespace {

// One piece in and out again, without allocation.
void buffer_append_consume(benchmark::State& state) {
  const std::string piece(static_cast<std::size_t>(state.range(0)), 'x');
  Buffer buffer;
  buffer.append(piece);
  buffer.consume(piece.size());
  Report report(state);
  for (auto _ : state) {
    buffer.append(piece);
    benchmark::DoNotOptimize(buffer.data());
    benchmark::ClobberMemory();
    buffer.consume(piece.size());
  }
  report.done(state.iterations(), state.iterations() * state.range(0));
}
BENCHMARK(buffer_append_consume)->ArgName("bytes")->Arg(64)->Arg(1024)->Arg(16384);

// A new Buffer that grows to 64 KiB by small pieces: the cost of growth for each piece.
void buffer_grow(benchmark::State& state) {
  constexpr std::size_t kTotal = 64 * 1024;
  const std::string piece(static_cast<std::size_t>(state.range(0)), 'x');
  Report report(state);
  std::int64_t pieces = 0;
  for (auto _ : state) {
    Buffer buffer;
    while (buffer.size() < kTotal) {
      buffer.append(piece);
      ++pieces;
    }
    benchmark::DoNotOptimize(buffer.data());
    benchmark::ClobberMemory();
  }
  report.done(pieces, pieces * state.range(0));
}
BENCHMARK(buffer_grow)->ArgName("bytes")->Arg(64)->Arg(1024);

// The cost for every message: a Buffer gets a lent block, is read and destroyed.
void buffer_lend(benchmark::State& state) {
  const auto block = std::make_unique<std::array<std::byte, 4096>>();
  block->fill(std::byte{'x'});
  Report report(state);
  for (auto _ : state) {
    Buffer buffer;
    buffer.lend(*block, 64);
    benchmark::DoNotOptimize(buffer.view());
    buffer.consume(64);
    buffer.end_loan();
    benchmark::DoNotOptimize(buffer);
  }
  report.done(state.iterations());
}
BENCHMARK(buffer_lend);

// A handler that leaves half of the bytes: the rest moves to a Buffer with its own memory.
void buffer_lend_and_keep(benchmark::State& state) {
  const auto block = std::make_unique<std::array<std::byte, 4096>>();
  block->fill(std::byte{'x'});
  Report report(state);
  for (auto _ : state) {
    Buffer lent;
    lent.lend(*block, 64);
    lent.consume(32);
    Buffer kept(std::move(lent));
    benchmark::DoNotOptimize(kept.data());
    benchmark::ClobberMemory();
  }
  report.done(state.iterations());
}
BENCHMARK(buffer_lend_and_keep);

// A search for a byte at the very end.
void buffer_find(benchmark::State& state) {
  Buffer buffer;
  buffer.append(std::string(static_cast<std::size_t>(state.range(0)) - 1, 'x') + "\n");
  Report report(state);
  for (auto _ : state) {
    benchmark::DoNotOptimize(buffer.data());
    benchmark::DoNotOptimize(buffer.find("\n"));
    benchmark::ClobberMemory();
  }
  report.done(state.iterations(), state.iterations() * state.range(0));
}
BENCHMARK(buffer_find)->ArgName("bytes")->Arg(64)->Arg(65536);

// A header of four integers, written and read.
void buffer_integers(benchmark::State& state) {
  Buffer buffer;
  buffer.prepare(64);
  std::uint32_t value = 0;
  Report report(state);
  for (auto _ : state) {
    buffer.append_u8(1);
    buffer.append_u16(2);
    buffer.append_u32(++value);
    buffer.append_u64(4);
    benchmark::ClobberMemory();
    benchmark::DoNotOptimize(buffer.read_u8());
    benchmark::DoNotOptimize(buffer.read_u16());
    benchmark::DoNotOptimize(buffer.read_u32());
    benchmark::DoNotOptimize(buffer.read_u64());
  }
  report.done(state.iterations() * 4);
}
BENCHMARK(buffer_integers);

}  // namespace
}  // namespace weir::bench
