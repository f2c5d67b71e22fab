#include "sockstat/watch.h"

#include <sys/ioctl.h>
#include <unistd.h>

#include <cerrno>
#include <csignal>
#include <cstdio>
#include <memory>
#include <optional>
#include <utility>

#include "sockstat/json.h"
#include "sockstat/look.h"
#include "sockstat/terminal.h"
#include "sockstat/text.h"
#include "weir/net/reactor/event_loop.h"
#include "weir/net/reactor/signal_set.h"

namespace weir::sockstat {

namespace {

struct CloseFile {
  void operator()(std::FILE* file) const { std::fclose(file); }
};

// Writes looks to standard output, in place if it is a terminal and there are several, and to a
// file.
class Screen {
 public:
  explicit Screen(const Settings& settings)
      : settings_(settings), terminal_(isatty(STDOUT_FILENO) == 1) {}

  Result<void> open() {
    if (settings_.json.empty() || settings_.json == "-") return {};
    file_.reset(std::fopen(settings_.json.c_str(), "we"));
    if (!file_) return std::unexpected(Error(settings_.json, Errno::last()));
    return {};
  }

  Result<void> show(const Look& now, const Look* before) {
    std::string text;
    if (settings_.json == "-") {
      text = json_of(now, before, settings_.selection) + "\n";
    } else {
      text = text_of(now, before, settings_.selection, terminal_);
      if (settings_.watch && terminal_) {
        text = over_the_screen(text);
      } else if (before != nullptr) {
        text.insert(0, "\n");
      }
    }
    if (auto done = put(stdout, text, "standard output"); !done) return done;
    if (!file_) return {};
    return put(file_.get(), json_of(now, before, settings_.selection) + "\n", settings_.json);
  }

 private:
  static Result<void> put(std::FILE* file, const std::string& text, const std::string& name) {
    if (std::fwrite(text.data(), 1, text.size(), file) == text.size() && std::fflush(file) == 0) {
      return {};
    }
    return std::unexpected(Error(name, Errno::last()));
  }

  std::string over_the_screen(const std::string& text) {
    winsize size{};
    static_cast<void>(::ioctl(STDOUT_FILENO, TIOCGWINSZ, &size));
    const std::size_t rows = size.ws_row > 2 ? size.ws_row : 24;
    const std::size_t columns = size.ws_col > 2 ? size.ws_col : 80;
    return (std::exchange(first_, false) ? "\x1b[2J" : "") + in_place(text, rows, columns);
  }

  const Settings& settings_;
  const bool terminal_;
  bool first_ = true;
  std::unique_ptr<std::FILE, CloseFile> file_;
};

}  // namespace

Result<void> show(const Settings& settings) {
  auto kernel = SockDiag::open();
  if (!kernel) return std::unexpected(kernel.error());
  Screen screen(settings);
  if (auto done = screen.open(); !done) return done;

  std::optional<Look> before;
  std::uint64_t looks = 0;
  const auto look_again = [&]() -> Result<void> {
    auto now = look(*kernel, settings.selection);
    if (!now) return std::unexpected(now.error());
    auto shown = screen.show(*now, before ? &*before : nullptr);
    before = std::move(*now);
    ++looks;
    return shown;
  };
  if (auto done = look_again(); !done || !settings.watch || looks == settings.looks) return done;

  EventLoop loop({.stall_threshold = Duration::zero()});  // nothing else runs on it
  Result<void> outcome;
  const SignalSet signals(loop, {SIGINT, SIGTERM}, [&](int) { loop.stop(); });
  loop.run_every(*settings.watch, [&] {
    outcome = look_again();
    if (!outcome || looks == settings.looks) loop.stop();
  });
  loop.run();
  return outcome;
}

}  // namespace weir::sockstat
