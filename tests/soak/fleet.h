// The processes of a soak: a steady server, and one that is handed over from process to process.
#pragma once

#include <cstdint>
#include <list>
#include <memory>
#include <string>
#include <vector>

#include "soak/server.h"
#include "support/subprocess.h"
#include "support/temp_files.h"
#include "weir/net/socket/socket_address.h"

namespace weir::test::soak {

class Fleet {
 public:
  // `program`: this one, which also is the server.
  Fleet(std::string program, const Settings& settings, Duration period);

  // Reads what the servers printed, and the exit status of those that were replaced.
  void poll();
  // Starts a successor, unless the last predecessor is still ending.
  void hand_over();
  // Leaves the steady server no descriptor for a new connection; or the normal number again.
  void squeeze(bool on);
  // Ends both servers and checks how they end.
  void end();

  const SocketAddress& steady() const { return steady_->address; }
  const SocketAddress& replaced() const { return replaced_->address; }
  // Of the steady server.
  const std::vector<Sample>& samples() const { return steady_->samples; }
  std::uint64_t hand_overs() const { return hand_overs_; }
  std::uint64_t squeezes() const { return squeezes_; }
  const std::vector<std::string>& failures() const { return failures_; }

 private:
  struct Server {
    std::string name;
    std::unique_ptr<Subprocess> process;
    SocketAddress address;
    std::vector<Sample> samples;
  };
  std::unique_ptr<Server> start(const std::string& name, const std::string& point);
  void read(Server& server);
  void check_end(Server& server, Duration deadline);

  std::string program_;
  const Settings& settings_;
  Duration period_;
  TempFolder folder_;
  std::unique_ptr<Server> steady_;
  std::unique_ptr<Server> replaced_;
  std::unique_ptr<Server> ending_;
  std::uint64_t normal_limit_ = 0;
  std::uint64_t hand_overs_ = 0;
  std::uint64_t squeezes_ = 0;
  std::vector<std::string> failures_;
};

}  // namespace weir::test::soak
