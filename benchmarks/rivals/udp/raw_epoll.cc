// bench_udp-raw_epoll, bench_udp-raw_epoll_mmsg: plain epoll(7), without a framework.
//
// RIVAL_BATCH: datagrams per system call. 1: recvfrom(2) and sendto(2) until EAGAIN; more:
// recvmmsg(2) and sendmmsg(2), once for each event. Datagrams that the socket does not take are
// lost, as in the network.
#include <sys/epoll.h>
#include <sys/signalfd.h>
#include <sys/socket.h>

#include <array>
#include <csignal>
#include <cstddef>
#include <cstring>

#include "rivals/settings.h"

namespace {

constexpr unsigned kBatch = RIVAL_BATCH;
constexpr int kReadsATurn = 64;  // so that a flood does not delay signals

class Echo {
 public:
  explicit Echo(int socket) : socket_(socket), blocks_(rival::make_block(kBatch * rival::kBlock)) {
    for (unsigned i = 0; i < kBatch; ++i) {
      vectors_[i] = {.iov_base = blocks_.get() + i * rival::kBlock, .iov_len = rival::kBlock};
      messages_[i].msg_hdr.msg_iov = &vectors_[i];
      messages_[i].msg_hdr.msg_iovlen = 1;
      messages_[i].msg_hdr.msg_name = &names_[i];
    }
  }

  void serve() {
    if (kBatch > 1) {
      batch();
    } else {
      for (int i = 0; i < kReadsATurn && one(); ++i) {
      }
    }
  }

 private:
  bool one() {
    socklen_t length = sizeof names_[0];
    auto* name = reinterpret_cast<sockaddr*>(&names_[0]);
    const ssize_t n = ::recvfrom(socket_, blocks_.get(), rival::kBlock, 0, name, &length);
    if (n < 0) return false;
    static_cast<void>(
        ::sendto(socket_, blocks_.get(), static_cast<std::size_t>(n), MSG_NOSIGNAL, name, length));
    return true;
  }

  void batch() {
    for (unsigned i = 0; i < kBatch; ++i) {
      messages_[i].msg_hdr.msg_namelen = sizeof names_[i];
      vectors_[i].iov_len = rival::kBlock;
    }
    const int n = ::recvmmsg(socket_, messages_.data(), kBatch, 0, nullptr);
    if (n <= 0) return;
    for (int i = 0; i < n; ++i) {
      const auto at = static_cast<std::size_t>(i);
      vectors_[at].iov_len = messages_[at].msg_len;
    }
    static_cast<void>(
        ::sendmmsg(socket_, messages_.data(), static_cast<unsigned>(n), MSG_NOSIGNAL));
  }

  const int socket_;
  const rival::Block blocks_;
  std::array<mmsghdr, kBatch> messages_{};
  std::array<iovec, kBatch> vectors_{};
  std::array<sockaddr_in, kBatch> names_{};
};

int serve(const rival::Settings& settings) {
  const int socket = ::socket(AF_INET, SOCK_DGRAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
  if (socket < 0) rival::give_up("socket", errno);
  const auto* address = reinterpret_cast<const sockaddr*>(&settings.listen);
  if (::bind(socket, address, sizeof settings.listen) != 0) rival::give_up("bind", errno);
  sigset_t signals;
  sigemptyset(&signals);
  sigaddset(&signals, SIGTERM);
  sigaddset(&signals, SIGINT);
  sigprocmask(SIG_BLOCK, &signals, nullptr);
  const int stop = ::signalfd(-1, &signals, SFD_NONBLOCK | SFD_CLOEXEC);
  const int epoll = ::epoll_create1(EPOLL_CLOEXEC);
  if (stop < 0 || epoll < 0) rival::give_up("signalfd, epoll_create1", errno);
  for (const int fd : {socket, stop}) {
    epoll_event event{.events = EPOLLIN, .data = {.fd = fd}};
    if (::epoll_ctl(epoll, EPOLL_CTL_ADD, fd, &event) != 0) rival::give_up("epoll_ctl", errno);
  }
  rival::announce(socket);
  Echo echo(socket);
  std::array<epoll_event, 16> events;
  for (;;) {
    const int n = ::epoll_wait(epoll, events.data(), events.size(), -1);
    if (n < 0 && errno != EINTR) rival::give_up("epoll_wait", errno);
    for (int i = 0; i < n; ++i) {
      if (events[static_cast<std::size_t>(i)].data.fd == stop) return 0;
      echo.serve();
    }
  }
}

}  // namespace

int main(int argc, char** argv) { return rival::run(argc, argv, RIVAL_NAME, serve); }
