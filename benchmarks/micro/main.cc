// weir-micro: the cost of single parts of weir. The options are those of Google Benchmark (--help).
#include <benchmark/benchmark.h>
#include <sys/resource.h>

#include <cstdio>

int main(int argc, char** argv) {
  // The dispatch benchmarks watch thousands of descriptors.
  rlimit limit{};
  if (::getrlimit(RLIMIT_NOFILE, &limit) == 0) {
    limit.rlim_cur = limit.rlim_max;
    ::setrlimit(RLIMIT_NOFILE, &limit);
  }
#ifdef NDEBUG
  benchmark::AddCustomContext("weir_build", "release");
#else
  benchmark::AddCustomContext("weir_build", "not a release build: the figures are meaningless");
#endif
  benchmark::Initialize(&argc, argv);
  if (benchmark::ReportUnrecognizedArguments(argc, argv)) return 2;
  if (benchmark::RunSpecifiedBenchmarks() == 0) {
    std::fputs("error: no benchmark has this name; --benchmark_list_tests lists them\n", stderr);
    return 1;
  }
  benchmark::Shutdown();
}
