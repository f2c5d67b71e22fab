// weir-sockstat: shows the sockets of a server, like netstat(8) and ss(8). See README.md.
//
//   main ── show() (watch.cc: once or on a loop, to a terminal or a file)
//            ├─ look() ── SockDiag (netlink) ── read_tcp, read_unix (bytes to values)
//            │       └─── proc_files (somaxconn, overflows, the sockets of a process)
//            └─ text_of(), json_of() ── growth (numbers that grow, and their meaning)

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
  } catch (const weir::SystemError& refused) {  // the kernel refused the loop for --watch
    return weir::fail(refused.error());
  }
}
