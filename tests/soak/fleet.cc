#include "soak/fleet.h"

#include <fmt/format.h>
#include <sys/resource.h>

#include <chrono>
#include <csignal>
#include <optional>
#include <utility>

namespace weir::test::soak {
namespace {

using namespace std::chrono_literals;

constexpr rlim_t kSqueezed = 4;    // fewer than a server has
constexpr Duration kEnding = 20s;  // more than grace and deadline of a server

}  // namespace

Fleet::Fleet(std::string program, const Settings& settings, Duration period)
    : program_(std::move(program)), settings_(settings), period_(period) {
  steady_ = start("steady", "");
  replaced_ = start("replaced", folder_.path() + "/point");
  rlimit limit{};
  ::prlimit(steady_->process->pid(), RLIMIT_NOFILE, nullptr, &limit);
  normal_limit_ = limit.rlim_cur;
}

std::unique_ptr<Fleet::Server> Fleet::start(const std::string& name, const std::string& point) {
  std::vector<std::string> words{
      program_,   "--serve",
      "--scale",  fmt::format("{}", settings_.scale),
      "--period", fmt::format("{}", std::chrono::duration<double>(period_).count())};
  if (!point.empty()) words.insert(words.end(), {"--point", point});
  auto server = std::make_unique<Server>();
  server->name = name;
  server->process = std::make_unique<Subprocess>(words, std::vector<std::string>{"WEIR_LOG=error"});
  const std::string line = server->process->read_line().value_or("nothing");
  const std::string begin = "listening on ";
  const auto address = SocketAddress::parse(line.substr(std::min(begin.size(), line.size())));
  if (line.starts_with(begin) && address) {
    server->address = *address;
  } else {
    failures_.push_back(fmt::format("the {} server printed {:?} at its start; {}", name, line,
                                    server->process->errors()));
  }
  return server;
}

void Fleet::read(Server& server) {
  while (const auto line = server.process->read_line(Duration::zero())) {
    if (const auto sample = Sample::parse(*line)) server.samples.push_back(*sample);
  }
}

void Fleet::poll() {
  read(*steady_);
  read(*replaced_);
  if (ending_ && ending_->process->wait(Duration::zero())) {
    check_end(*ending_, Duration::zero());
    ending_.reset();
  }
}

void Fleet::hand_over() {
  if (ending_) return;
  auto next = start("replaced", folder_.path() + "/point");
  ending_ = std::exchange(replaced_, std::move(next));
  ++hand_overs_;
}

void Fleet::squeeze(bool on) {
  rlimit limit{};
  ::prlimit(steady_->process->pid(), RLIMIT_NOFILE, nullptr, &limit);
  limit.rlim_cur = on ? kSqueezed : normal_limit_;
  ::prlimit(steady_->process->pid(), RLIMIT_NOFILE, &limit, nullptr);
  if (on) ++squeezes_;
}

void Fleet::check_end(Server& server, Duration deadline) {
  const auto status = server.process->wait(deadline);
  read(server);
  const std::string how = status ? fmt::format("ended with status {}", *status) : "did not end";
  if (status != 0) {
    failures_.push_back(
        fmt::format("a {} server {}: {}", server.name, how, server.process->errors()));
  }
  if (!server.samples.empty() && server.samples.back().corrupted > 0) {
    failures_.push_back(fmt::format("a {} server received wrong bytes on {} connections",
                                    server.name, server.samples.back().corrupted));
  }
}

void Fleet::end() {
  steady_->process->signal(SIGTERM);
  replaced_->process->signal(SIGTERM);
  for (Server* server : {steady_.get(), replaced_.get(), ending_.get()}) {
    if (server != nullptr) check_end(*server, kEnding);
  }
}

}  // namespace weir::test::soak
