// OutputQueue: queued output, from append to consume.
#include <sys/uio.h>

#include <algorithm>
#include <array>
#include <cstddef>
#include <string>
#include <utility>

#include "bench.h"
#include "weir/net/buffer/output_queue.h"
#include "weir/net/buffer/shared_bytes.h"

namespace weir::bench {
namespace {

constexpr std::size_t kVectors = 64;

// Consumes `step` bytes at a time, as sendmsg(2) would.
void drain(OutputQueue& queue, std::uint64_t step) {
  std::array<iovec, kVectors> vectors;
  while (!queue.empty()) {
    benchmark::DoNotOptimize(queue.fill(vectors));
    benchmark::DoNotOptimize(vectors);
    queue.consume(std::min(queue.size(), step));
  }
}

// 64 bytes that are copied and sent immediately. An item is a message.
void output_queue_copy(benchmark::State& state) {
  const std::string message(64, 'x');
  const auto messages = state.range(0);
  OutputQueue queue;
  queue.append(message);
  drain(queue, queue.size());  // fills the thread's cache of segments
  Report report(state);
  for (auto _ : state) {
    for (std::int64_t i = 0; i < messages; ++i) queue.append(message);
    drain(queue, queue.size());
  }
  report.done(state.iterations() * messages, state.iterations() * messages * 64);
}
BENCHMARK(output_queue_copy)->ArgName("messages")->Arg(1)->Arg(32);

// 1 KiB of shared bytes, as in a broadcast: no byte is copied.
void output_queue_share(benchmark::State& state) {
  const SharedBytes message = SharedBytes::copy(std::string(1024, 'x'));
  const auto messages = state.range(0);
  OutputQueue queue;
  for (std::int64_t i = 0; i < messages; ++i) queue.append(message);
  drain(queue, queue.size());
  Report report(state);
  for (auto _ : state) {
    for (std::int64_t i = 0; i < messages; ++i) queue.append(message);
    drain(queue, queue.size());
  }
  report.done(state.iterations() * messages);
}
BENCHMARK(output_queue_share)->ArgName("messages")->Arg(1)->Arg(32);

// A string of 64 KiB that is moved, not copied. An item includes making and freeing the string.
void output_queue_take_over(benchmark::State& state) {
  constexpr std::size_t kSize = 64 * 1024;
  OutputQueue queue;
  Report report(state);
  for (auto _ : state) {
    std::string message;
    message.resize_and_overwrite(kSize, [](char*, std::size_t size) { return size; });
    queue.append(std::move(message));
    drain(queue, kSize);
  }
  report.done(state.iterations());
}
BENCHMARK(output_queue_take_over);

// Filling iovecs from 64 shared segments. An item is a segment.
void output_queue_iovecs(benchmark::State& state) {
  const SharedBytes message = SharedBytes::copy(std::string(1024, 'x'));
  OutputQueue queue;
  for (std::size_t i = 0; i < kVectors; ++i) queue.append(message);
  std::array<iovec, kVectors> vectors;
  Report report(state);
  std::size_t filled = 0;
  for (auto _ : state) {
    filled += queue.fill(vectors);
    benchmark::DoNotOptimize(vectors);
    benchmark::ClobberMemory();
  }
  report.done(static_cast<std::int64_t>(filled));
}
BENCHMARK(output_queue_iovecs);

// 64 KiB that the socket takes in steps of 1,000 bytes. An item is a step.
void output_queue_consume_partly(benchmark::State& state) {
  constexpr std::size_t kSize = 64 * 1024;
  constexpr std::uint64_t kStep = 1000;
  const SharedBytes message = SharedBytes::copy(std::string(kSize, 'x'));
  OutputQueue queue;
  Report report(state);
  for (auto _ : state) {
    queue.append(message);
    drain(queue, kStep);
  }
  report.done(state.iterations() * static_cast<std::int64_t>((kSize + kStep - 1) / kStep));
}
BENCHMARK(output_queue_consume_partly);

}  // namespace
}  // namespace weir::bench
