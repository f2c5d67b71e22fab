#include "support/expect_log.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <chrono>
#include <mutex>

#include "weir/base/log_line.h"

namespace weir::test {
namespace {

std::mutex mutex;
std::vector<AllowLog*> scopes;            // mutex
std::vector<std::string> unexpected_now;  // mutex

}  // namespace

LogWatch& LogWatch::instance() {
  static LogWatch watch;
  return watch;
}

void LogWatch::start() {
  internal::set_log_observer(
      [](LogLevel level, std::string_view line) { instance().see(level, line); });
  internal::advance_log_clock(std::chrono::seconds(1));
  const std::lock_guard lock(mutex);
  unexpected_now.clear();
}

std::vector<std::string> LogWatch::unexpected() {
  const std::lock_guard lock(mutex);
  return unexpected_now;
}

void LogWatch::see(LogLevel level, std::string_view line) {
  const std::lock_guard lock(mutex);
  for (auto scope = scopes.rbegin(); scope != scopes.rend(); ++scope) {  // the innermost first
    if (line.find((*scope)->part_) == std::string_view::npos) continue;
    (*scope)->lines_.emplace_back(line);
    return;
  }
  // That a callback was slow is the machine's doing as often as the test's; stalls are counted.
  if (line.find(" held the loop for ") != std::string_view::npos) return;
  if (level >= LogLevel::warn) unexpected_now.emplace_back(line);
}

AllowLog::AllowLog(std::string_view part) : part_(part) {
  const std::lock_guard lock(mutex);
  scopes.push_back(this);
}

AllowLog::~AllowLog() {
  const std::lock_guard lock(mutex);
  std::erase(scopes, this);
}

std::size_t AllowLog::count() const {
  const std::lock_guard lock(mutex);
  return lines_.size();
}

std::vector<std::string> AllowLog::lines() const {
  const std::lock_guard lock(mutex);
  return lines_;
}

ExpectLog::~ExpectLog() {
  if (count() == 0) ADD_FAILURE() << "nothing was logged of what the test expected";
}

}  // namespace weir::test
