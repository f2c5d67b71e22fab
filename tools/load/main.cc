// weir-load: puts load on a server and measures the answers. See README.md.
//
//   main ── Run (the loop of the main thread: phases, signals, the live line, the report)
//            └─ Worker, one for each thread: its clients, their schedule, its Numbers
//                └─ Client, one for each connection: EchoClient, ChurnClient, ...

#include <csignal>
#include <cstdio>
#include <variant>

#include "load/options.h"
#include "load/run.h"
#include "load/settings.h"
#include "program/standard_streams.h"
#include "weir/base/fd.h"
#include "weir/base/result.h"

int main(int argc, char** argv) {
  weir::program::keep_standard_descriptors();
  // The reader of the live line or of the report may have gone; --json must still be written.
  std::signal(SIGPIPE, SIG_IGN);
  const auto wanted = weir::load::read_command_line(argc, argv);
  if (const int* status = std::get_if<int>(&wanted)) return *status;
  const auto& settings = std::get<weir::load::Settings>(wanted);

  const std::size_t descriptors = weir::raise_descriptor_limit();
  const std::size_t needed = settings.sockets() + 16 + 8 * settings.threads;
  if (needed > descriptors) {
    std::fprintf(stderr, "error: %zu connections need %zu descriptors, RLIMIT_NOFILE is %zu\n",
                 settings.sockets(), needed, descriptors);
    return 1;
  }
  try {
    return weir::program::finish_output(weir::load::run(settings));
  } catch (const weir::SystemError& refused) {  // the kernel refused a loop or a thread
    return weir::fail(refused.error());
  }
}
