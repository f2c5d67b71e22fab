#include "support/net_namespace.h"

#include <sched.h>
#include <unistd.h>

#include <cstdlib>
#include <fstream>
#include <thread>

namespace weir::test {

bool in_net_namespace(const std::function<void()>& fn) {
  bool entered = false;
  std::thread([&] {
    entered = ::unshare(CLONE_NEWNET) == 0 && ip("link set lo up");
    if (entered) fn();
  }).join();
  return entered;
}

bool ip(const std::string& arguments) {
  return std::system(("ip " + arguments + " 2>/dev/null").c_str()) == 0;
}

bool set_net_option(const std::string& name, const std::string& value) {
  std::ofstream file("/proc/sys/net/" + name);
  file << value << std::flush;
  return file.good();
}

pid_t this_thread_id() { return ::gettid(); }

}  // namespace weir::test
