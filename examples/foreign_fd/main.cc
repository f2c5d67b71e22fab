// weir-foreign-fd: runs a command and prints its output, line by line, and how it ended. Every
// descriptor that it waits for was made outside of weir and is watched by a weir::Channel.
//
// Lines may come in any number of pieces, without an end, or as binary data. If our own output is
// slower than the command, the command has to wait, so memory is limited. The end of a pipe, or of
// the command, is handled once and does not keep the loop busy. No process is left behind.

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

// After SIGTERM: the child is killed after the first, and the loop is stopped after the second.
constexpr weir::Duration kUntilKilled = 1s;
constexpr weir::Duration kUntilStopped = 2s;
// A pipe stays open after the child has ended if the child leaves other processes behind. Reading
// ends when such a pipe had no data for this long.
constexpr weir::Duration kQuietTime = 500ms;

// Members are destroyed in reverse order: each Channel before its descriptor. The child is reaped
// last.
class Session {
 public:
  Session(weir::EventLoop& loop, ChildProcess child, const std::string& command,
          weir::Duration tick)
      : loop_(loop),
        child_(std::move(child)),
        output_(loop, [this] { on_output_written(); }),
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

  // Ends the child, and then the session.
  void stop() {
    if (std::exchange(stopping_, true)) return child_.signal(SIGKILL);  // the second request
    child_.signal(SIGTERM);
    loop_.run_after(kUntilKilled, [this] { child_.signal(SIGKILL); });
    loop_.run_after(kUntilStopped, [this] { loop_.stop(); });
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

  void on_output_written() {
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
    loop_.run_every(kQuietTime, [this] {
      if (output_.full()) return;  // the pipes are not read now, so they are not quiet
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
  std::signal(SIGPIPE, SIG_IGN);  // write(2) reports EPIPE when the reader of our output has gone
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
  CLI::App app("Runs a command and prints its output, line by line.", "weir-foreign-fd");
  weir::program::seconds_option(app, "--tick", tick, 0.001, 1e9, "between two tick lines");
  sample::words_option(app, "command", words,
                       "the command and its arguments; by default, a loop of some seconds");
  return sample::run(app, argc, argv, [&] { return run(words, tick); });
}
