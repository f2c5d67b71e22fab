// weir-poll-compare: the cost of one wait with select(2), poll(2) and epoll(7), level- and
// edge-triggered, with ten to ten thousand descriptors, few of which are ready. The time includes
// finding the ready descriptors, but not making them ready and resetting them.
//
//   weir-poll-compare [rounds] [ready descriptors]
//                     2000     4                     the defaults
#include <poll.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/resource.h>
#include <sys/select.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <charconv>
#include <chrono>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <string_view>
#include <vector>

#include "weir/base/fd.h"

namespace {

constexpr std::array<std::size_t, 4> kCounts = {10, 100, 1000, 10000};

[[noreturn]] void give_up(const char* what) {
  std::fprintf(stderr, "error: %s: %s\n", what, std::strerror(errno));
  std::exit(1);
}

// A way to wait. Returns the number of ready descriptors that it found.
class Way {
 public:
  virtual ~Way() = default;
  virtual std::size_t wait() = 0;
};

class Select final : public Way {
 public:
  explicit Select(const std::vector<int>& fds) : fds_(fds) {
    FD_ZERO(&all_);
    for (const int fd : fds) FD_SET(fd, &all_);
    highest_ = *std::max_element(fds.begin(), fds.end());
  }
  static bool possible(const std::vector<int>& fds) {
    return *std::max_element(fds.begin(), fds.end()) < FD_SETSIZE;
  }
  std::size_t wait() override {
    fd_set ready = all_;  // the kernel overwrites it
    int left = ::select(highest_ + 1, &ready, nullptr, nullptr, nullptr);
    std::size_t found = 0;
    for (std::size_t i = 0; i < fds_.size() && left > 0; ++i) {
      if (FD_ISSET(fds_[i], &ready)) {
        ++found;
        --left;
      }
    }
    return found;
  }

 private:
  const std::vector<int>& fds_;
  fd_set all_{};
  int highest_;
};

class Poll final : public Way {
 public:
  explicit Poll(const std::vector<int>& fds) {
    for (const int fd : fds) watched_.push_back({.fd = fd, .events = POLLIN, .revents = 0});
  }
  std::size_t wait() override {
    int left = ::poll(watched_.data(), watched_.size(), -1);
    std::size_t found = 0;
    for (std::size_t i = 0; i < watched_.size() && left > 0; ++i) {
      if ((watched_[i].revents & POLLIN) != 0) {
        ++found;
        --left;
      }
    }
    return found;
  }

 private:
  std::vector<pollfd> watched_;
};

class Epoll final : public Way {
 public:
  Epoll(const std::vector<int>& fds, std::uint32_t trigger) : set_(::epoll_create1(EPOLL_CLOEXEC)) {
    for (const int fd : fds) {
      epoll_event event{};
      event.events = EPOLLIN | trigger;
      event.data.fd = fd;
      if (::epoll_ctl(set_.get(), EPOLL_CTL_ADD, fd, &event) != 0) give_up("epoll_ctl");
    }
  }
  std::size_t wait() override {
    const int ready =
        ::epoll_wait(set_.get(), events_.data(), static_cast<int>(events_.size()), -1);
    std::size_t found = 0;
    for (int i = 0; i < ready; ++i) {
      if ((events_[static_cast<std::size_t>(i)].events & EPOLLIN) != 0) ++found;
    }
    return found;
  }

 private:
  weir::Fd set_;
  std::array<epoll_event, 512> events_{};
};

// Before each wait some descriptors, evenly distributed, become readable.
class Crowd {
 public:
  Crowd(std::size_t count, std::size_t ready) {
    for (std::size_t i = 0; i < count; ++i) {
      weir::Fd fd(::eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC));
      if (!fd.valid()) give_up("eventfd (is ulimit -n above the number of descriptors?)");
      fds_.push_back(fd.get());
      owned_.push_back(std::move(fd));
    }
    for (std::size_t i = 0; i < ready; ++i) active_.push_back(fds_[i * count / ready]);
  }
  const std::vector<int>& fds() const { return fds_; }

  // Nanoseconds of one wait.
  double round(Way& way) const {
    const std::uint64_t one = 1;
    for (const int fd : active_) {
      if (::write(fd, &one, sizeof one) != sizeof one) give_up("write");
    }
    const auto start = std::chrono::steady_clock::now();
    const std::size_t found = way.wait();
    const auto end = std::chrono::steady_clock::now();
    if (found != active_.size()) give_up("a wait did not find all ready descriptors");
    std::uint64_t value = 0;
    for (const int fd : active_) {
      if (::read(fd, &value, sizeof value) != sizeof value) give_up("read");
    }
    return std::chrono::duration<double, std::nano>(end - start).count();
  }

 private:
  std::vector<weir::Fd> owned_;
  std::vector<int> fds_;
  std::vector<int> active_;
};

double median(std::vector<double>& values) {
  const auto middle = values.begin() + static_cast<std::ptrdiff_t>(values.size() / 2);
  std::nth_element(values.begin(), middle, values.end());
  return *middle;
}

// The ways alternate, so that a change of the machine's speed affects all. An epoll set makes every
// change of its descriptors more expensive, so it exists only while it is measured.
void compare(std::size_t count, std::size_t ready, std::size_t rounds) {
  constexpr std::size_t kTurns = 10;
  const Crowd crowd(count, ready);
  std::array<std::vector<double>, 4> times;
  const auto run = [&](std::size_t way, auto make) {
    const std::unique_ptr<Way> made = make();
    for (std::size_t i = 0; i < (rounds + kTurns - 1) / kTurns; ++i) {
      times[way].push_back(crowd.round(*made));
    }
  };
  for (std::size_t turn = 0; turn < kTurns; ++turn) {
    if (Select::possible(crowd.fds())) {
      run(0, [&] { return std::make_unique<Select>(crowd.fds()); });
    }
    run(1, [&] { return std::make_unique<Poll>(crowd.fds()); });
    run(2, [&] { return std::make_unique<Epoll>(crowd.fds(), 0); });
    run(3, [&] { return std::make_unique<Epoll>(crowd.fds(), EPOLLET); });
  }
  std::printf("%11zu  %6zu", count, ready);
  for (std::vector<double>& values : times) {
    if (values.empty()) {
      std::printf("  %12s", "-");
    } else {
      std::printf("  %12.2f", median(values) / 1000);
    }
  }
  std::printf("\n");
  std::fflush(stdout);
}

std::size_t number(const char* text) {
  const std::string_view all(text);
  std::size_t value = 0;
  const auto [end, error] = std::from_chars(all.data(), all.data() + all.size(), value);
  if (error != std::errc() || end != all.data() + all.size() || value == 0 || value > 1'000'000) {
    std::fprintf(stderr, "error: '%s' is not a number from 1 to 1000000\n", text);
    std::exit(2);
  }
  return value;
}

}  // namespace

int main(int argc, char** argv) {
  if (argc > 1 && std::string_view(argv[1]) == "--help") {
    std::puts("usage: weir-poll-compare [rounds] [ready descriptors]");
    return 0;
  }
  const std::size_t rounds = argc > 1 ? number(argv[1]) : 2000;
  const std::size_t ready = argc > 2 ? number(argv[2]) : 4;
  rlimit limit{};
  if (::getrlimit(RLIMIT_NOFILE, &limit) == 0) {
    limit.rlim_cur = limit.rlim_max;
    ::setrlimit(RLIMIT_NOFILE, &limit);
  }
  std::printf("Microseconds of one wait with some ready, median of %zu\n\n", rounds);
  std::printf("%11s  %6s  %12s  %12s  %12s  %12s\n", "descriptors", "ready", "select", "poll",
              "epoll level", "epoll edge");
  for (const std::size_t count : kCounts) {
    if (count + 64 > limit.rlim_cur) {
      std::printf("%11zu  not measured: ulimit -n is %llu\n", count,
                  static_cast<unsigned long long>(limit.rlim_cur));
      continue;
    }
    compare(count, std::min({ready, count, std::size_t{512}}), rounds);
  }
}
