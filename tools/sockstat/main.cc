// weir-sockstat: what netstat(8) and ss(8) show, about a server. See README.md.
//
//   main ── show() (watch.cc: once or on a loop, to a terminal or a file)
//            ├─ look() ── SockDiag (netlink) ── read_tcp, read_unix (bytes to values)
//            │       └─── proc_files (somaxconn, overflows, which sockets a process has)
//            └─ text_of(), json_of() ── growth (what became more, and what that means)

#include <variant>

#include "program/standard_streams.h"
#include "sockstat/options.h"
#include "sockstat/watch.h"
#include "weir/base/result.h"

int main(int argc, char** argv) {
  weir::program::keep_standard_descriptors();
  const auto wanted = weir::sockstat::read_command_line(argc, argv);
  if (const int* status = std::get_if<int>(&wanted)) return *status;
  try {
    const auto done = weir::sockstat::show(std::get<weir::sockstat::Settings>(wanted));
    return done ? 0 : weir::fail(done.error());
  } catch (const weir::SystemError& refused) {  // by the kernel: the loop that watches
    return weir::fail(refused.error());
  }
}
