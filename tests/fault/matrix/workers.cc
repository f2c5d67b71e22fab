#include "workers.h"

#include <poll.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <chrono>
#include <climits>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <map>
#include <memory>
#include <optional>
#include <thread>

#include "weir/base/fd.h"

namespace weir::test::matrix {
namespace {

using Time = std::chrono::steady_clock;

// Cells that one process runs before the next process starts afresh.
constexpr std::size_t kBatch = 500;
// Real time for one cell. Most take less than a millisecond, but a cell sleeps for the kernel's
// sake, and on a loaded machine each of these sleeps can take long.
constexpr std::chrono::seconds kMostTime{120};
constexpr std::chrono::seconds kProgress{5};
constexpr std::size_t kLoggedTail = 600;

// From a worker to the parent.
struct Message {
  enum class Kind : std::uint8_t { begins, ended, violation };
  Kind kind;
  bool reached;
  std::size_t cell;
  std::array<char, 400> text;
};
static_assert(sizeof(Message) <= PIPE_BUF);  // so that write(2) is atomic

void tell(int pipe, Message::Kind kind, std::size_t cell, bool reached = false,
          const std::string& text = {}) {
  Message message{.kind = kind, .reached = reached, .cell = cell, .text = {}};
  text.copy(message.text.data(), message.text.size() - 1);
  while (::write(pipe, &message, sizeof(message)) < 0 && errno == EINTR) {
  }
}

// The body of a child process. What it logs goes to the file `log`.
void work(const std::vector<Cell>& cells, std::size_t begin, std::size_t end, int pipe, int log) {
  ::dup2(log, STDERR_FILENO);
  for (std::size_t i = begin; i < end; ++i) {
    if (::ftruncate(log, 0) == 0) ::lseek(log, 0, SEEK_SET);
    tell(pipe, Message::Kind::begins, i);
    const Outcome outcome = run(cells[i]);
    for (const std::string& text : outcome.violations) {
      tell(pipe, Message::Kind::violation, i, outcome.reached, text);
    }
    tell(pipe, Message::Kind::ended, i, outcome.reached);
  }
}

class Worker {
 public:
  Worker(const std::vector<Cell>& cells, std::size_t begin, std::size_t end)
      : begin_(begin), end_(end), log_(::memfd_create("log", MFD_CLOEXEC)) {
    std::array<int, 2> ends{-1, -1};
    if (::pipe(ends.data()) != 0 || !log_) std::abort();
    reading_.reset(ends[0]);
    Fd writing(ends[1]);
    std::fflush(nullptr);
    child_ = ::fork();
    if (child_ != 0) return;
    reading_.reset();
    work(cells, begin, end, writing.get(), log_.get());
    std::exit(0);  // not _exit, so that LeakSanitizer looks
  }
  ~Worker() {
    if (child_ > 0) end_child();
  }
  Worker(const Worker&) = delete;
  Worker& operator=(const Worker&) = delete;

  int fd() const { return reading_.get(); }
  // The next message; nullopt: there is none now, or the child has ended.
  std::optional<Message> receive() {
    Message message;
    const ssize_t got = ::read(reading_.get(), &message, sizeof(message));
    if (got != sizeof(message)) {
      over_ = got == 0;
      return std::nullopt;
    }
    heard_ = Time::now();
    if (message.kind == Message::Kind::begins) running_ = message.cell;
    if (message.kind == Message::Kind::ended) {
      running_.reset();
      begin_ = message.cell + 1;
    }
    return message;
  }
  bool over() const { return over_; }
  void set_over() { over_ = true; }
  bool silent() const { return Time::now() - heard_ > kMostTime; }
  // Ends the child. Empty: it has ended in order.
  std::string end_child() {
    const bool hung = !over_;
    if (hung) ::kill(child_, SIGKILL);
    int status = 0;
    while (::waitpid(child_, &status, 0) < 0 && errno == EINTR) {
    }
    child_ = -1;
    if (hung) return "hangs: no end after " + std::to_string(kMostTime.count()) + " s";
    if (WIFSIGNALED(status)) {
      return std::string("crashes: ") + ::strsignal(WTERMSIG(status));
    }
    if (WEXITSTATUS(status) != 0) return "exits with " + std::to_string(WEXITSTATUS(status));
    return {};
  }
  std::string log() const {
    std::string text(kLoggedTail, '\0');
    const off_t size = ::lseek(log_.get(), 0, SEEK_END);
    const auto tail = static_cast<off_t>(kLoggedTail);
    const ssize_t got =
        ::pread(log_.get(), text.data(), text.size(), std::max<off_t>(size - tail, 0));
    text.resize(got > 0 ? static_cast<std::size_t>(got) : 0);
    return text;
  }
  // The cell that was running, or the next one; and the first that is left.
  std::size_t culprit() const { return running_.value_or(begin_ > 0 ? begin_ - 1 : 0); }
  std::size_t next() const { return running_ ? *running_ + 1 : begin_; }
  std::size_t end() const { return end_; }

 private:
  std::size_t begin_;
  const std::size_t end_;
  const Fd log_;
  Fd reading_;
  pid_t child_ = -1;
  std::optional<std::size_t> running_;
  bool over_ = false;
  Time::time_point heard_ = Time::now();
};

class Run {
 public:
  Run(const std::vector<Cell>& cells, const WorkerOptions& options,
      const std::function<void(const Violation&)>& on_violation)
      : cells_(cells), options_(options), on_violation_(on_violation) {
    for (std::size_t i = 0; i < cells.size(); i += kBatch) {
      left_.emplace_back(i, std::min(i + kBatch, cells.size()));
    }
  }

  Summary run() {
    const std::size_t jobs =
        options_.jobs > 0 ? options_.jobs : std::max(1U, std::thread::hardware_concurrency());
    while ((!left_.empty() && !stopped()) || !workers_.empty()) {
      while (workers_.size() < jobs && !left_.empty() && !stopped()) {
        const auto [begin, end] = left_.back();
        left_.pop_back();
        workers_.push_back(std::make_unique<Worker>(cells_, begin, end));
      }
      hear();
      print_progress();
    }
    summary_.seconds = seconds();
    return summary_;
  }

 private:
  bool stopped() const { return summary_.violations >= options_.most_violations; }
  double seconds() const { return std::chrono::duration<double>(Time::now() - start_).count(); }

  void hear() {
    std::vector<pollfd> items;
    for (const auto& worker : workers_) items.push_back({worker->fd(), POLLIN, 0});
    ::poll(items.data(), items.size(), 1000);
    for (std::size_t i = 0; i < items.size(); ++i) {
      if (items[i].revents != 0) handle(*workers_[i]);
      if (workers_[i]->over() || workers_[i]->silent()) end(*workers_[i]);
    }
    std::erase_if(workers_, [](const auto& worker) { return worker->over(); });
  }

  void handle(Worker& worker) {
    const auto message = worker.receive();
    if (!message) return;
    if (message->kind == Message::Kind::violation) {
      violated(message->cell, message->text.data(), worker.log());
    } else if (message->kind == Message::Kind::ended) {
      ++summary_.cells;
      summary_.reached += message->reached ? 1U : 0U;
    }
  }

  void violated(std::size_t cell, const std::string& text, const std::string& log) {
    ++summary_.violations;
    on_violation_({.cell = cell, .text = cells_[cell].id() + ": " + text, .log = log});
  }

  // What it has not run goes to the next worker.
  void end(Worker& worker) {
    const std::string why = worker.end_child();
    if (!why.empty()) {
      violated(worker.culprit(), why, worker.log());
      ++summary_.cells;
    }
    if (worker.next() < worker.end()) left_.emplace_back(worker.next(), worker.end());
    worker.set_over();
  }

  void print_progress() {
    if (Time::now() < next_progress_) return;
    next_progress_ += kProgress;
    if (summary_.cells == 0) return;
    const auto all = static_cast<double>(cells_.size());
    const auto done = static_cast<double>(summary_.cells);
    std::fprintf(stderr, "%zu of %zu cells, %zu violations, about %.0f s left\n", summary_.cells,
                 cells_.size(), summary_.violations, seconds() * (all - done) / done);
  }

  const std::vector<Cell>& cells_;
  const WorkerOptions& options_;
  const std::function<void(const Violation&)>& on_violation_;
  std::vector<std::pair<std::size_t, std::size_t>> left_;
  std::vector<std::unique_ptr<Worker>> workers_;
  Summary summary_;
  const Time::time_point start_ = Time::now();
  Time::time_point next_progress_ = start_ + kProgress;
};

}  // namespace

Summary run_in_workers(const std::vector<Cell>& cells, const WorkerOptions& options,
                       const std::function<void(const Violation&)>& on_violation) {
  return Run(cells, options, on_violation).run();
}

}  // namespace weir::test::matrix
