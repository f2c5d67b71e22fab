#include "weir/net/service/run_until_signal.h"

#include <unistd.h>

#include <array>
#include <atomic>
#include <cerrno>
#include <csignal>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <string>
#include <thread>
#include <utility>

#include "weir/base/check_format.h"
#include "weir/base/fmt.h"
#include "weir/net/reactor/channel.h"
#include "weir/net/reactor/internal/waker.h"
#include "weir/net/sys/sys.h"
#include "weir/net/sys/thread.h"

namespace weir {

namespace sys = internal::sys;

namespace {

// Two signals within this time count as one request: programs that forward signals, such as
// timeout(1), send them to the process and to its group.
constexpr Duration kOneRequest = std::chrono::milliseconds(100);

// The state of the signal handler. One run_until_signal() at a time.
constinit std::atomic<const internal::Waker*> the_waker{nullptr};
constinit std::atomic<pid_t> the_process{0};
constinit std::atomic<std::int64_t> asked_at{0};  // ns; 0: not yet
constinit std::atomic<int> handlers_running{0};

// Runs on any thread, at any point of it, so the second signal also works while the loop is stuck.
// Uses only functions that signal-safety(7) allows.
void on_signal(int signal) {
  if (the_process.load() != ::getpid()) {
    // A child that has not called exec. process_generation() is not reliable here: the handlers of
    // pthread_atfork(3) may not have run yet.
    std::signal(signal, SIG_DFL);
    std::raise(signal);
    return;
  }
  const int kept = errno;
  ++handlers_running;
  const std::int64_t now = Clock::now().time_since_epoch().count();
  std::int64_t before = 0;
  if (asked_at.compare_exchange_strong(before, now)) {
    if (const internal::Waker* waker = the_waker.load()) waker->wake();
  } else if (now - before > kOneRequest.count()) {
    std::_Exit(128 + signal);
  }
  --handlers_running;
  errno = kept;
}

void ignore(int) {}

// While it lives, SIGINT and SIGTERM wake `loop`, and SIGPIPE has no effect: a server does not end
// because the reader of its output has gone. SIGPIPE has a handler, not SIG_IGN, which child
// processes would inherit.
class StopSignals final : private IoHandler {
 public:
  StopSignals(EventLoop& loop, std::move_only_function<void()> on_stop)
      : on_stop_(std::move(on_stop)), waker_(make_waker()), channel_(loop, waker_.fd(), *this) {
    const internal::Waker* nobody = nullptr;
    WEIR_CHECK(the_waker.compare_exchange_strong(nobody, &waker_),
               "run_until_signal called while it runs on another loop of this process");
    the_process.store(::getpid());
    asked_at.store(0);
    channel_.set_reading(true);
    for (std::size_t i = 0; i < kSignals.size(); ++i) before_[i] = handle(kSignals[i]);
    sigemptyset(&ending_);
    for (const int signal : kEnding) sigaddset(&ending_, signal);
    mask_before_ = sys::change_signal_mask(SIG_UNBLOCK, ending_);
  }
  ~StopSignals() {
    sigset_t blocked_before;
    sigandset(&blocked_before, &ending_, &mask_before_);
    sys::change_signal_mask(SIG_BLOCK, blocked_before);
    for (std::size_t i = 0; i < kSignals.size(); ++i) {
      static_cast<void>(sys::restore_signal(kSignals[i], before_[i]));
    }
    the_waker.store(nullptr);
    while (handlers_running.load() > 0) std::this_thread::yield();  // on other threads
  }
  StopSignals(const StopSignals&) = delete;
  StopSignals& operator=(const StopSignals&) = delete;

 private:
  static constexpr std::array kEnding = {SIGINT, SIGTERM};
  static constexpr std::array kSignals = {SIGINT, SIGTERM, SIGPIPE};

  static internal::Waker make_waker() {
    auto waker = internal::Waker::create();
    if (!waker) throw SystemError(waker.error().within("wait for signals"));
    return std::move(*waker);
  }

  static struct sigaction handle(int signal) {
    auto before = sys::handle_signal(signal, signal == SIGPIPE ? ignore : on_signal);
    WEIR_CHECK(before.has_value(), "run_until_signal: sigaction: {}", before.error());
    if (signal == SIGPIPE && before->sa_handler != SIG_DFL) {  // the program has set an action
      static_cast<void>(sys::restore_signal(signal, *before));
    }
    return *before;
  }

  void on_ready(std::uint32_t) override {
    waker_.drain();
    on_stop_();
  }
  void on_interest_refused(Errno error) override {
    throw SystemError(Error("wait for signals: epoll_ctl", error));
  }

  std::move_only_function<void()> on_stop_;
  const internal::Waker waker_;
  Channel channel_;
  std::array<struct sigaction, kSignals.size()> before_{};
  sigset_t ending_{};
  sigset_t mask_before_{};
};

}  // namespace

std::optional<std::vector<SocketAddress>> parse_addresses(const std::vector<std::string>& texts) {
  std::vector<SocketAddress> parsed;
  for (const std::string& text : texts) {
    const auto address = SocketAddress::parse(text);
    if (!address) {
      fail(address.error());
      return std::nullopt;
    }
    parsed.push_back(*address);
  }
  return parsed;
}

void run_until_signal(EventLoop& loop, const std::vector<SocketAddress>& listening,
                      std::move_only_function<void()> end) {
  const StopSignals signals(loop, std::move(end));

  std::string ready;
  for (const SocketAddress& address : listening) {
    ready += "listening on " + address.to_string() + "\n";
  }
  std::fputs(ready.c_str(), stdout);
  std::fflush(stdout);

  loop.run();
}

}  // namespace weir
