#include "weir/base/log.h"

#include <fmt/format.h>
#include <pthread.h>
#include <spdlog/logger.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <cerrno>
#include <cstdio>
#include <cstdlib>
#include <exception>
#include <iterator>

#include "weir/base/log_line.h"
#include "weir/base/mutex.h"
#include "weir/base/stderr_sink.h"
#include "weir/base/utf8.h"
#include "weir/base/write_now.h"

namespace weir {
namespace {

using internal::LogObserver;
using internal::Mutex;
using internal::MutexLock;

// Shared by all threads. Never destroyed, because the destructor of a static object may log.
struct State {
  Mutex mutex;
  std::shared_ptr<spdlog::logger> logger WEIR_GUARDED_BY(mutex);
  std::shared_ptr<LogObserver> observer WEIR_GUARDED_BY(mutex);
};

void lock_all();
void unlock_all();

State& state() {
  static State* const shared = [] {
    // In a child no lock is held by a thread that exists only in the parent.
    ::pthread_atfork(lock_all, unlock_all, unlock_all);
    return new State;
  }();
  return *shared;
}

void lock_all() WEIR_UNCHECKED_LOCKS {
  state().mutex.lock();
  internal::stderr_sink_mutex.lock();
}
void unlock_all() WEIR_UNCHECKED_LOCKS {
  internal::stderr_sink_mutex.unlock();
  state().mutex.unlock();
}

constinit std::atomic<Duration::rep> log_clock_advance{0};  // of advance_log_clock()

constexpr std::array<std::string_view, 7> kLevelNames = {"trace", "debug",    "info", "warn",
                                                         "error", "critical", "off"};

static_assert(static_cast<int>(LogLevel::trace) == SPDLOG_LEVEL_TRACE);
static_assert(static_cast<int>(LogLevel::error) == SPDLOG_LEVEL_ERROR);
static_assert(static_cast<int>(LogLevel::off) == SPDLOG_LEVEL_OFF);

spdlog::level::level_enum to_spdlog(LogLevel level) {
  return static_cast<spdlog::level::level_enum>(level);
}

std::shared_ptr<spdlog::logger> logger_of(State& shared) WEIR_REQUIRES(shared.mutex) {
  if (!shared.logger) {
    auto sink = std::make_shared<internal::StderrSink>();
    shared.logger = std::make_shared<spdlog::logger>("weir", std::move(sink));
    // log_threshold decides; the logger passes everything.
    shared.logger->set_level(spdlog::level::trace);
  }
  return shared.logger;
}

// -- escaping -------------------------------------------------------------------------------------

void escape_into(std::string& out, std::string_view text, bool backslash_too) {
  while (!text.empty()) {
    const CodePoint next = first_code_point(text);
    const std::string_view bytes = text.substr(0, std::max<std::size_t>(next.size, 1));
    text.remove_prefix(bytes.size());
    if (next.size == 0) {
      fmt::format_to(std::back_inserter(out), "\\x{:02x}", static_cast<unsigned char>(bytes[0]));
    } else if (next.value == '\\' && backslash_too) {
      out += "\\\\";
    } else if (is_printable(next.value)) {
      out += bytes;
    } else if (next.value == '\n') {
      out += "\\n";
    } else if (next.value == '\r') {
      out += "\\r";
    } else if (next.value == '\t') {
      out += "\\t";
    } else if (next.value < 0x80) {
      fmt::format_to(std::back_inserter(out), "\\x{:02x}", static_cast<unsigned>(next.value));
    } else {
      fmt::format_to(std::back_inserter(out), "\\u{{{:x}}}", static_cast<unsigned>(next.value));
    }
  }
}

bool is_plain(std::string_view text) {
  return std::all_of(text.begin(), text.end(), [](char c) { return c >= 0x20 && c < 0x7F; });
}

}  // namespace

std::string escaped(std::string_view text, std::size_t limit) {
  std::string_view shown = text.substr(0, limit);
  // A code point that the limit would cut in two is left out.
  for (std::size_t back = 1; shown.size() < text.size() && back <= std::min<std::size_t>(3, limit);
       ++back) {
    const std::size_t start = shown.size() - back;
    if ((static_cast<unsigned char>(text[start]) & 0xC0) == 0x80) continue;
    if (first_code_point(text.substr(start)).size > back) shown.remove_suffix(back);
    break;
  }
  std::string out;
  out.reserve(shown.size());
  escape_into(out, shown, true);
  if (shown.size() < text.size()) {
    fmt::format_to(std::back_inserter(out), "...(+{} bytes)", text.size() - shown.size());
  }
  return out;
}

void set_log_level(LogLevel level) {
  internal::log_threshold.store(static_cast<int>(level), std::memory_order_relaxed);
}

LogLevel log_level() {
  const int threshold = internal::log_threshold.load(std::memory_order_relaxed);
  return static_cast<LogLevel>(threshold < 0 ? internal::read_log_threshold() : threshold);
}

void set_logger(std::shared_ptr<spdlog::logger> logger) {
  if (logger) set_log_level(static_cast<LogLevel>(logger->level()));
  State& shared = state();
  const MutexLock lock(shared.mutex);
  std::swap(shared.logger, logger);
}

std::shared_ptr<spdlog::logger> logger() {
  State& shared = state();
  const MutexLock lock(shared.mutex);
  return logger_of(shared);
}

void write_log(LogLevel level, std::string_view line) noexcept {
  if (internal::log_enabled(level)) internal::log(level, 0, "{}", line);
}

void write_log(LogLevel level, LogLimit& limit, std::string_view line) noexcept {
  std::uint64_t suppressed = 0;
  if (internal::log_enabled(level) && limit.admit(suppressed)) {
    internal::log(level, suppressed, "{}", line);
  }
}

bool LogLimit::admit(std::uint64_t& suppressed) noexcept {
  const Duration advanced(log_clock_advance.load(std::memory_order_relaxed));
  return admit(Clock::now() + advanced, suppressed);
}

bool LogLimit::admit(TimePoint now, std::uint64_t& suppressed) noexcept {
  if (bucket_.take(now) > Duration::zero()) {
    suppressed_.fetch_add(1, std::memory_order_relaxed);
    return false;
  }
  suppressed = suppressed_.exchange(0, std::memory_order_relaxed);
  return true;
}

namespace internal {

constinit std::atomic<int> log_threshold{-1};

int read_log_threshold() noexcept {
  const char* wanted = std::getenv("WEIR_LOG");
  LogLevel level = LogLevel::warn;
  const auto* name = kLevelNames.end();
  if (wanted != nullptr) name = std::find(kLevelNames.begin(), kLevelNames.end(), wanted);
  if (name != kLevelNames.end()) level = static_cast<LogLevel>(name - kLevelNames.begin());
  // The first thread sets the level, unless set_log_level() was called in the meantime.
  int threshold = -1;
  const bool first = log_threshold.compare_exchange_strong(threshold, static_cast<int>(level));
  if (!first) return threshold;
  if (wanted != nullptr && *wanted != '\0' && name == kLevelNames.end()) {
    const std::string_view text(wanted);
    WEIR_LOG(warn,
             "WEIR_LOG={}: unknown level; use trace, debug, info, warn, error, critical or off",
             text.substr(0, 64));
  }
  return static_cast<int>(level);
}

void write_log(LogLevel level, std::uint64_t suppressed, fmt::string_view format,
               fmt::format_args args) noexcept {
  const int saved_errno = errno;
  try {
    std::string line = fmt::vformat(format, args);
    if (suppressed > 0) {
      fmt::format_to(std::back_inserter(line), " (+{} suppressed)", suppressed);
    }
    if (!is_plain(line)) {
      std::string clean;
      escape_into(clean, line, false);
      line = std::move(clean);
    }
    std::shared_ptr<spdlog::logger> target;
    std::shared_ptr<LogObserver> observer;
    {
      State& shared = state();
      const MutexLock lock(shared.mutex);
      target = logger_of(shared);
      observer = shared.observer;
    }
    // Passed as a string view, not as a format: braces in the line have no meaning.
    target->log(to_spdlog(level), spdlog::string_view_t(line.data(), line.size()));
    if (observer) (*observer)(level, line);
  } catch (const std::exception& e) {
    std::array<char, 256> text{};
    static_cast<void>(
        std::snprintf(text.data(), text.size(), "weir: a log line was lost: %.200s\n", e.what()));
    write_now(2, text.data());
  } catch (...) {
    write_now(2, "weir: a log line was lost\n");
  }
  errno = saved_errno;
}

LogObserver set_log_observer(LogObserver observer) {
  auto fresh = observer ? std::make_shared<LogObserver>(std::move(observer)) : nullptr;
  State& shared = state();
  {
    const MutexLock lock(shared.mutex);
    std::swap(shared.observer, fresh);
  }
  return fresh ? *fresh : LogObserver();
}

void advance_log_clock(Duration by) noexcept {
  log_clock_advance.fetch_add(by.count(), std::memory_order_relaxed);
}

}  // namespace internal
}  // namespace weir
