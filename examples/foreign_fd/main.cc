// weir-foreign-fd: runs a command and shows what it says, line by line, and how it ended.
// Everything it waits for is a descriptor of somebody else's on a weir::Channel.
//
// What it takes care of: lines come in any number of pieces, without an end, or without being text;
// a command that says more than our own output takes has to wait, and no memory grows; the end of
// a pipe, or of the command, is noticed once and does not keep the loop busy; whatever happens, no
// process is left behind.

#include <CLI/CLI.hpp>
#include <chrono>
#include <csignal>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "common/command_line.h"
#include "foreign_fd/child_process.h"
#include "foreign_fd/watched.h"
#include "program/command_line.h"
#include "weir/base/log.h"
#include "weir/net/reactor/event_loop.h"
#include "weir/net/reactor/signal_set.h"

namespace {

using namespace std::chrono_literals;

// After SIGTERM the child has so long until it is killed, and we until we end whatever waits.
constexpr weir::Duration kUntilKilled = 1s;
constexpr weir::Duration kUntilTheEnd = 2s;
// A pipe stays open after the child has ended if it has left others behind. When they have nothing
// to say for so long, that is the end.
constexpr weir::Duration kLastWords = 500ms;

// Members are destroyed in the reverse order: what watches goes before what is watched, which for
// the child is when it is reaped.
class Session {
 public:
  Session(weir::EventLoop& loop, ChildProcess child, const std::string& command,
          weir::Duration tick)
      : loop_(loop),
        child_(std::move(child)),
        output_(loop, [this] { output_moved(); }),
        lines_(
            loop, child_.take_output(), [this](auto line) { show("out: ", line); },
            [this] { end_if_over(); }),
        errors_(
            loop, child_.take_errors(), [this](auto line) { show("err: ", line); },
            [this] { end_if_over(); }),
        ended_(loop, child_.ended_fd(), [this] { child_ended(); }),
        ticker_(std::in_place, loop, tick, [this](std::uint64_t times) { ticked(times); }) {
    output_.print("* started process " + std::to_string(child_.pid()) + ": " +
                  weir::escaped(command, LineReader::kMaxLine));
  }

  // Ends the child, and with it the session.
  void stop() {
    if (std::exchange(stopping_, true)) return child_.signal(SIGKILL);  // asked twice
    child_.signal(SIGTERM);
    loop_.run_after(kUntilKilled, [this] { child_.signal(SIGKILL); });
    loop_.run_after(kUntilTheEnd, [this] { loop_.stop(); });
  }

  // What main() returns.
  int exit_code() const {
    if (output_.failure()) return weir::fail({"write standard output", output_.failure()});
    return stopping_ ? 0 : end_ ? end_->shell_status() : 1;
  }

 private:
  void show(const char* prefix, std::string_view line) {
    output_.print(prefix + weir::escaped(line, LineReader::kMaxLine));
    if (output_.full()) set_reading(false);
  }

  void set_reading(bool on) {
    lines_.set_reading(on);
    errors_.set_reading(on);
  }

  void output_moved() {
    if (output_.failure()) stop();
    if (!output_.full()) set_reading(true);
    end_if_over();
  }

  void ticked(std::uint64_t times) {
    ticks_ += times;
    if (!output_.full()) output_.print("* tick " + std::to_string(ticks_));
  }

  void child_ended() {
    end_ = child_.ended();
    const auto [by_signal, number] = end_.value_or(ChildProcess::Ended());
    output_.print((by_signal ? "* ended by signal " : "* exited with ") + std::to_string(number));
    loop_.run_every(kLastWords, [this] {
      if (output_.full()) return;  // it is not the pipes that have nothing to say
      lines_.end_if_quiet();
      errors_.end_if_quiet();
    });
    end_if_over();
  }

  void end_if_over() {
    if (!end_ || !lines_.ended() || !errors_.ended()) return;
    ticker_.reset();
    if (output_.empty()) loop_.stop();
  }

  weir::EventLoop& loop_;
  ChildProcess child_;
  Output output_;
  LineReader lines_;
  LineReader errors_;
  Readable ended_;
  std::optional<Ticker> ticker_;
  std::optional<ChildProcess::Ended> end_;
  std::uint64_t ticks_ = 0;
  bool stopping_ = false;
};

int run(const std::vector<std::string>& words, weir::Duration tick) {
  std::signal(SIGPIPE, SIG_IGN);  // a reader of ours that leaves is told by write(2)
  weir::EventLoop loop;
  std::optional<Session> session;
  const weir::SignalSet signals(loop, {SIGINT, SIGTERM}, [&](int) {
    if (session) session->stop();
  });
  auto child = ChildProcess::start(words);
  if (!child) return weir::fail(child.error());
  session.emplace(loop, std::move(*child), sample::joined(words), tick);
  loop.run();
  return session->exit_code();
}

}  // namespace

int main(int argc, char** argv) {
  std::vector<std::string> words = {
      "sh", "-c", "for i in 1 2 3; do echo line $i; sleep 1; done; echo that was all >&2"};
  weir::Duration tick = 1s;
  CLI::App app("Runs a command and shows what it says, line by line.", "weir-foreign-fd");
  weir::program::seconds_option(app, "--tick", tick, 0.001, 1e9,
                                "between two lines that say that time goes by");
  sample::words_option(app, "command", words,
                       "the command and its arguments; without it, a loop of some seconds");
  return sample::run(app, argc, argv, [&] { return run(words, tick); });
}
