#include "weir/base/stderr_sink.h"

#include <fmt/format.h>
#include <spdlog/details/log_msg.h>
#include <spdlog/details/os.h>
#include <spdlog/pattern_formatter.h>

#include <algorithm>
#include <array>
#include <cstdio>
#include <string_view>
#include <utility>

#include "weir/base/write_now.h"

namespace weir::internal {

namespace {

constexpr int kStderr = 2;

// The colours of spdlog's own terminal sink, by level.
constexpr std::array<std::string_view, 7> kColours = {
    "\033[37m",        "\033[36m",        "\033[32m", "\033[33m\033[1m",
    "\033[31m\033[1m", "\033[1m\033[41m", ""};
constexpr std::string_view kPlain = "\033[m";

}  // namespace

StderrSink::StderrSink()
    : coloured_(spdlog::details::os::in_terminal(stderr) &&
                spdlog::details::os::is_color_terminal()),
      formatter_(std::make_unique<spdlog::pattern_formatter>()) {}

void StderrSink::set_pattern(const std::string& pattern) {
  set_formatter(std::make_unique<spdlog::pattern_formatter>(pattern));
}

void StderrSink::set_formatter(std::unique_ptr<spdlog::formatter> formatter) {
  const MutexLock lock(stderr_sink_mutex);
  formatter_ = std::move(formatter);
}

void StderrSink::log(const spdlog::details::log_msg& message) {
  const MutexLock lock(stderr_sink_mutex);
  std::string line;
  if (torn_) line += '\n';
  if (lost_ > 0) {
    const std::string text =
        fmt::format("{} log lines could not be written to standard error", lost_);
    append(line, {message.logger_name, spdlog::level::warn, {text.data(), text.size()}});
  }
  append(line, message);
  const std::size_t taken = write_now(kStderr, line);
  if (taken == line.size()) {
    torn_ = false;
    lost_ = 0;
    return;
  }
  ++lost_;
  if (taken > 0) torn_ = line[taken - 1] != '\n';
}

void StderrSink::append(std::string& out, const spdlog::details::log_msg& message) {
  spdlog::memory_buf_t formatted;
  formatter_->format(message, formatted);
  const std::string_view text(formatted.data(), formatted.size());
  const std::size_t begin = message.color_range_start;
  const std::size_t end = message.color_range_end;
  if (!coloured_ || begin >= end || end > text.size()) {
    out += text;
    return;
  }
  const auto level = std::min(static_cast<std::size_t>(message.level), kColours.size() - 1);
  out += text.substr(0, begin);
  out += kColours[level];
  out += text.substr(begin, end - begin);
  out += kPlain;
  out += text.substr(end);
}

}  // namespace weir::internal
