#include "weir/base/log_line.h"

#include <gtest/gtest.h>
#include <spdlog/logger.h>
#include <spdlog/sinks/base_sink.h>
#include <spdlog/sinks/ostream_sink.h>

#include <atomic>
#include <cerrno>
#include <cstdint>
#include <limits>
#include <memory>
#include <mutex>
#include <sstream>
#include <stdexcept>
#include <string>
#include <string_view>
#include <thread>
#include <utility>
#include <vector>

#include "weir/base/result.h"

namespace weir {
namespace {

using namespace std::chrono_literals;

// Sends lines to a string, and puts everything back at the end.
class LogTest : public testing::Test {
 protected:
  LogTest() : old_level_(log_level()) {
    auto sink = std::make_shared<spdlog::sinks::ostream_sink_mt>(text_);
    logger_ = std::make_shared<spdlog::logger>("test", std::move(sink));
    logger_->set_pattern("%l|%v");
    logger_->set_level(spdlog::level::trace);
    set_logger(logger_);
    old_observer_ = internal::set_log_observer(
        [this](LogLevel level, std::string_view line) { observed_.emplace_back(level, line); });
  }
  ~LogTest() override {
    internal::set_log_observer(std::move(old_observer_));
    set_logger(nullptr);
    set_log_level(old_level_);
  }

  std::string text() const { return text_.str(); }

  LogLevel old_level_;
  internal::LogObserver old_observer_;
  std::ostringstream text_;
  std::shared_ptr<spdlog::logger> logger_;
  std::vector<std::pair<LogLevel, std::string>> observed_;
};

TEST_F(LogTest, WritesFormattedLines) {
  WEIR_LOG(info, "listening on {}:{}", "127.0.0.1", 7000);
  WEIR_LOG(error, "accept: {}", Errno(EMFILE));
  EXPECT_EQ(text(),
            "info|listening on 127.0.0.1:7000\n"
            "error|accept: Too many open files (EMFILE)\n");
  ASSERT_EQ(observed_.size(), 2U);
  EXPECT_EQ(observed_[1].first, LogLevel::error);
  EXPECT_EQ(observed_[1].second, "accept: Too many open files (EMFILE)");
}

TEST_F(LogTest, WritesALineOfThePrograms) {
  errno = EAGAIN;
  write_log(LogLevel::info, "no {format}\n");
  set_log_level(LogLevel::warn);
  write_log(LogLevel::info, "not on");
  EXPECT_EQ(errno, EAGAIN);
  EXPECT_EQ(text(), "info|no {format}\\n\n");
}

TEST_F(LogTest, WritesLinesOfTheProgramsWithinALimit) {
  LogLimit limit(1);
  set_log_level(LogLevel::warn);
  write_log(LogLevel::info, limit, "not on, and not counted");
  write_log(LogLevel::warn, limit, "once");
  write_log(LogLevel::warn, limit, "again");
  EXPECT_EQ(text(), "warning|once\n");
}

TEST_F(LogTest, EveryLevelIsWrittenFromTheThresholdOn) {
  const std::vector<std::pair<LogLevel, int>> expected = {
      {LogLevel::trace, 6}, {LogLevel::debug, 5},    {LogLevel::info, 4}, {LogLevel::warn, 3},
      {LogLevel::error, 2}, {LogLevel::critical, 1}, {LogLevel::off, 0}};
  for (const auto& [level, lines] : expected) {
    set_log_level(level);
    EXPECT_EQ(log_level(), level);
    observed_.clear();
    WEIR_LOG(trace, "1");
    WEIR_LOG(debug, "2");
    WEIR_LOG(info, "3");
    WEIR_LOG(warn, "4");
    WEIR_LOG(error, "5");
    WEIR_LOG(critical, "6");
    EXPECT_EQ(observed_.size(), static_cast<std::size_t>(lines));
  }
}

TEST_F(LogTest, ArgumentsOfASilentLevelAreNotEvaluated) {
  set_log_level(LogLevel::warn);
  int evaluated = 0;
  WEIR_LOG(info, "{}", ++evaluated);
  WEIR_LOG_LIMITED(debug, 10, "{}", ++evaluated);
  EXPECT_EQ(evaluated, 0);
  WEIR_LOG(warn, "{}", ++evaluated);
  EXPECT_EQ(evaluated, 1);
}

TEST_F(LogTest, IsOneStatement) {
  if (text().empty())
    WEIR_LOG(warn, "then");
  else
    WEIR_LOG(warn, "else");
  EXPECT_EQ(text(), "warning|then\n");
}

TEST_F(LogTest, TheUsersLoggerSetsTheLevel) {
  logger_->set_level(spdlog::level::err);
  set_logger(logger_);
  EXPECT_EQ(log_level(), LogLevel::error);
  WEIR_LOG(warn, "not shown");
  EXPECT_EQ(text(), "");
  EXPECT_EQ(logger(), logger_);
}

TEST_F(LogTest, WeirsOwnLoggerIsNamedWeirAndWritesToStderr) {
  set_logger(nullptr);
  EXPECT_EQ(logger()->name(), "weir");
  testing::internal::CaptureStderr();
  WEIR_LOG(critical, "to stderr");
  EXPECT_NE(testing::internal::GetCapturedStderr().find("to stderr"), std::string::npos);
  EXPECT_EQ(text(), "");
}

TEST_F(LogTest, KeepsErrno) {
  errno = ECONNRESET;
  WEIR_LOG(warn, "line");
  EXPECT_EQ(errno, ECONNRESET);
}

TEST_F(LogTest, BracesInArgumentsMeanNothing) {
  WEIR_LOG(warn, "peer said {}", "{} {0} {:n} %s");
  EXPECT_EQ(text(), "warning|peer said {} {0} {:n} %s\n");
}

// -- what must not leave a log call ---------------------------------------------------------------

struct Unprintable {};

class ThrowingSink : public spdlog::sinks::base_sink<std::mutex> {
 protected:
  void sink_it_(const spdlog::details::log_msg&) override { throw std::runtime_error("disk full"); }
  void flush_() override {}
};

}  // namespace
}  // namespace weir

template <>
struct fmt::formatter<weir::Unprintable> {
  constexpr auto parse(format_parse_context& context) { return context.begin(); }
  auto format(weir::Unprintable, format_context&) const -> format_context::iterator {
    throw std::runtime_error("cannot print this");
  }
};

namespace weir {
namespace {

TEST_F(LogTest, AnExceptionInAFormatterIsContained) {
  testing::internal::CaptureStderr();
  EXPECT_NO_THROW(WEIR_LOG(warn, "{}", Unprintable()));
  EXPECT_EQ(testing::internal::GetCapturedStderr(),
            "weir: a log line was lost: cannot print this\n");
}

TEST_F(LogTest, AnExceptionInASinkIsContained) {
  const auto thrower =
      std::make_shared<spdlog::logger>("thrower", std::make_shared<ThrowingSink>());
  // spdlog's own handler writes to stderr once a second, which a repetition would miss.
  std::string reported;
  thrower->set_error_handler([&](const std::string& error) { reported = error; });
  set_logger(thrower);
  EXPECT_NO_THROW(WEIR_LOG(error, "line"));
  EXPECT_NE(reported.find("disk full"), std::string::npos) << reported;
}

TEST_F(LogTest, AnExceptionInAnObserverIsContained) {
  internal::set_log_observer([](LogLevel, std::string_view) { throw 1; });
  testing::internal::CaptureStderr();
  EXPECT_NO_THROW(WEIR_LOG(error, "line"));
  EXPECT_EQ(testing::internal::GetCapturedStderr(), "weir: a log line was lost\n");
  EXPECT_EQ(text(), "error|line\n");
}

// -- escaping -------------------------------------------------------------------------------------

TEST(Escaped, Table) {
  const std::pair<std::string, std::string_view> table[] = {
      {"", ""},
      {"plain text", "plain text"},
      {"a\nb\rc\td", "a\\nb\\rc\\td"},
      {std::string("\0\x01\x1f", 3), "\\x00\\x01\\x1f"},
      {"\x1b[31mred\x7f", "\\x1b[31mred\\x7f"},
      {"C:\\n", "C:\\\\n"},
      {"gr\xc3\xbc\xc3\x9f", "gr\xc3\xbc\xc3\x9f"},  // valid UTF-8 stays
      {"\xe2\x82\xac \xf0\x9f\x98\x80", "\xe2\x82\xac \xf0\x9f\x98\x80"},
      {"\xc2\x85\xc2\x9b", "\\u{85}\\u{9b}"},              // C1 controls: NEL, CSI
      {"\xe2\x80\xa8\xe2\x80\xae", "\\u{2028}\\u{202e}"},  // line separator, right-to-left
      {"\xe2\x81\xa6\xef\xbb\xbf", "\\u{2066}\\u{feff}"},  // isolate, byte order mark
      {"\xff\xfe", "\\xff\\xfe"},
      {"\x80", "\\x80"},
      {"\xc0\x8a", "\\xc0\\x8a"},  // overlong newline
      {"\xe0\x80\x8a", "\\xe0\\x80\\x8a"},
      {"\xf0\x80\x80\x8a", "\\xf0\\x80\\x80\\x8a"},
      {"\xed\xa0\x80", "\\xed\\xa0\\x80"},           // surrogate
      {"\xf4\x90\x80\x80", "\\xf4\\x90\\x80\\x80"},  // above U+10FFFF
      {"\xf8\x88\x80\x80\x80", "\\xf8\\x88\\x80\\x80\\x80"},
      {"\xe2\x82", "\\xe2\\x82"},  // cut off
      {"\xe2\x82x", "\\xe2\\x82x"},
  };
  for (const auto& [raw, shown] : table) EXPECT_EQ(escaped(raw), shown);
}

TEST(Escaped, EveryByteComesOutPrintable) {
  for (int a = 0; a < 256; ++a) {
    for (int b = 0; b < 256; ++b) {
      const std::string raw = {static_cast<char>(a), static_cast<char>(b)};
      for (const char c : escaped(raw)) {
        const auto byte = static_cast<unsigned char>(c);
        ASSERT_TRUE(byte >= 0x20 && byte != 0x7f) << a << " " << b;
      }
    }
  }
}

TEST(Escaped, ShowsALimitedPart) {
  EXPECT_EQ(escaped(std::string(256, 'x')), std::string(256, 'x'));
  EXPECT_EQ(escaped(std::string(1000, 'x')), std::string(256, 'x') + "...(+744 bytes)");
  EXPECT_EQ(escaped("abcdef", 2), "ab...(+4 bytes)");
  EXPECT_EQ(escaped("abc", 0), "...(+3 bytes)");
  // No code point is cut in two.
  EXPECT_EQ(escaped("a\xe2\x82\xac"
                    "b",
                    2),
            "a...(+4 bytes)");
  EXPECT_EQ(escaped("a\xe2\x82\xac"
                    "b",
                    3),
            "a...(+4 bytes)");
  EXPECT_EQ(escaped("a\xe2\x82\xac"
                    "b",
                    4),
            "a\xe2\x82\xac...(+1 bytes)");
  EXPECT_EQ(escaped("\x80\x80\x80\x80\x80", 4), "\\x80\\x80\\x80\\x80...(+1 bytes)");
}

TEST_F(LogTest, F68_APeerCannotForgeALineOrDriveATerminal) {
  WEIR_LOG(warn, "bad request: {}", "GET\r\n[critical] all is lost\x1b]0;owned\x07\xc2\x9b");
  EXPECT_EQ(text(),
            "warning|bad request: GET\\r\\n[critical] all is lost\\x1b]0;owned\\x07\\u{9b}\n");
}

// -- rate limit -----------------------------------------------------------------------------------

TEST(LogLimit, AdmitsItsRateAndCountsTheRest) {
  LogLimit limit(10);
  TimePoint now = TimePoint(100s);
  std::uint64_t suppressed = 99;
  for (int i = 0; i < 10; ++i) {
    ASSERT_TRUE(limit.admit(now, suppressed)) << i;
    ASSERT_EQ(suppressed, 0U);
  }
  for (int i = 0; i < 123; ++i) ASSERT_FALSE(limit.admit(now, suppressed));
  EXPECT_FALSE(limit.admit(now + 99ms, suppressed));
  EXPECT_TRUE(limit.admit(now + 100ms, suppressed));
  EXPECT_EQ(suppressed, 124U);
  EXPECT_FALSE(limit.admit(now + 100ms, suppressed));
  // After a quiet time there is one second's worth again, not more.
  now += 1h;
  for (int i = 0; i < 10; ++i) ASSERT_TRUE(limit.admit(now, suppressed));
  EXPECT_FALSE(limit.admit(now, suppressed));
}

TEST(LogLimit, OnePerSecond) {
  LogLimit limit(1);
  std::uint64_t suppressed = 0;
  int admitted = 0;
  for (auto at = 0ms; at < 10s; at += 10ms) {
    admitted += limit.admit(TimePoint(at), suppressed) ? 1 : 0;
  }
  EXPECT_EQ(admitted, 10);
}

TEST(LogLimit, WorksAtTheEndsOfTime) {
  LogLimit limit(1);
  std::uint64_t suppressed = 0;
  EXPECT_TRUE(limit.admit(TimePoint(0ns), suppressed));
  EXPECT_FALSE(limit.admit(TimePoint(999'999'999ns), suppressed));
  EXPECT_TRUE(limit.admit(TimePoint(1s), suppressed));
  EXPECT_EQ(suppressed, 1U);
}

TEST(LogLimit, ThreadsShareOneBucketAndLoseNoCount) {
  LogLimit limit(100);
  constexpr int kThreads = 4;
  constexpr int kEach = 10'000;
  std::atomic<std::uint64_t> admitted{0};
  std::atomic<std::uint64_t> told{0};
  const TimePoint now(5s);
  {
    std::vector<std::jthread> threads;
    for (int t = 0; t < kThreads; ++t) {
      threads.emplace_back([&] {
        for (int i = 0; i < kEach; ++i) {
          std::uint64_t suppressed = 0;
          if (!limit.admit(now, suppressed)) continue;
          ++admitted;
          told += suppressed;
        }
      });
    }
  }
  EXPECT_EQ(admitted, 100U);
  std::uint64_t rest = 0;
  EXPECT_TRUE(limit.admit(now + 1s, rest));
  EXPECT_EQ(admitted + told + rest, static_cast<std::uint64_t>(kThreads * kEach));
}

TEST_F(LogTest, F68_AMillionErrorsAreAHundredLinesAtMost) {
  const TimePoint start = Clock::now();
  for (int i = 0; i < 1'000'000; ++i) WEIR_LOG_LIMITED(warn, 10, "accept failed {} times", i);
  const auto seconds = std::chrono::ceil<std::chrono::seconds>(Clock::now() - start).count();
  EXPECT_GE(observed_.size(), 10U);
  EXPECT_LE(observed_.size(), static_cast<std::size_t>(10 + 10 * seconds));
}

TEST_F(LogTest, F68_TheNextLineSaysHowManyWereLeftOut) {
  // The first line passes, the second is held back, then one a second later tells of it.
  const auto log_once = [] { WEIR_LOG_LIMITED(warn, 1000, "failed"); };
  const TimePoint deadline = Clock::now() + 10s;
  bool told = false;
  while (!told && Clock::now() < deadline) {
    log_once();
    told = !observed_.empty() && observed_.back().second.ends_with(" suppressed)");
  }
  EXPECT_TRUE(told);
  EXPECT_EQ(observed_.front().second, "failed");
  EXPECT_TRUE(observed_.back().second.starts_with("failed (+")) << observed_.back().second;
}

TEST_F(LogTest, AdvancingTheLogClockFillsEveryLimit) {
  const auto log_once = [] { WEIR_LOG_LIMITED(warn, 1, "failed"); };
  LogLimit limit(1);
  for (int i = 0; i < 3; ++i) {
    log_once();
    write_log(LogLevel::warn, limit, "lost");
    internal::advance_log_clock(1s);
  }
  EXPECT_EQ(
      text(),
      "warning|failed\nwarning|lost\nwarning|failed\nwarning|lost\nwarning|failed\nwarning|lost\n");
}

TEST_F(LogTest, EachCallSiteHasItsOwnLimit) {
  for (int i = 0; i < 3; ++i) {
    WEIR_LOG_LIMITED(warn, 1, "here");
    WEIR_LOG_LIMITED(warn, 1, "there");
  }
  ASSERT_GE(observed_.size(), 2U);
  // A repetition adds how many lines the one before it suppressed.
  EXPECT_TRUE(observed_[0].second.starts_with("here")) << observed_[0].second;
  EXPECT_TRUE(observed_[1].second.starts_with("there")) << observed_[1].second;
}

// -- the environment ------------------------------------------------------------------------------

TEST(LogDeathTest, WeirLogGivesTheFirstLevel) {
  const std::pair<const char*, LogLevel> table[] = {
      {"trace", LogLevel::trace}, {"debug", LogLevel::debug}, {"info", LogLevel::info},
      {"warn", LogLevel::warn},   {"error", LogLevel::error}, {"critical", LogLevel::critical},
      {"off", LogLevel::off},     {"", LogLevel::warn},       {"loud\n", LogLevel::warn},
  };
  for (const auto& [value, level] : table) {
    SCOPED_TRACE(value);
    const auto check = [wanted = value, expected = level] {
      ::setenv("WEIR_LOG", wanted, 1);
      internal::log_threshold.store(-1);
      std::exit(log_level() == expected ? 0 : 1);
    };
    EXPECT_EXIT(check(), testing::ExitedWithCode(0),
                std::string_view(value) == "loud\n" ? "WEIR_LOG=loud\\\\n: unknown level" : "");
  }
}

TEST(LogDeathTest, WithoutWeirLogItIsWarn) {
  const auto check = [] {
    ::unsetenv("WEIR_LOG");
    internal::log_threshold.store(-1);
    WEIR_LOG(info, "hidden");
    WEIR_LOG(warn, "shown");
    std::exit(log_level() == LogLevel::warn ? 0 : 1);
  };
  EXPECT_EXIT(check(), testing::ExitedWithCode(0), "^[^\n]*shown\n$");
}

}  // namespace
}  // namespace weir
