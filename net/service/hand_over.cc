// The messages on the connection, between two processes of one machine:
//
//   old -> new   kGreeting, then a SocketFacts for each of the descriptors that are sent with it;
//                the first descriptor is the point itself
//   new -> old   kServing
//   old -> new   kLetGo
#include "weir/net/service/hand_over.h"

#include <fmt/format.h>
#include <sys/epoll.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstdint>
#include <cstring>
#include <span>
#include <string_view>
#include <utility>

#include "weir/base/log_line.h"
#include "weir/net/reactor/internal/loop_core.h"
#include "weir/net/service/descriptor_passing.h"
#include "weir/net/sys/sys.h"
#include "weir/net/tcp/tcp_server.h"

namespace weir {

namespace sys = internal::sys;

namespace {

constexpr std::string_view kGreeting = "weir hand-over 1";
constexpr std::array kServing{std::byte{'S'}};
constexpr std::array kLetGo{std::byte{'L'}};

struct SocketFacts {
  std::uint64_t device;  // of its file
  std::uint64_t inode;
  std::uint64_t lent;
};

constexpr std::size_t kLongestOffer =
    kGreeting.size() + kMaxPassedDescriptors * sizeof(SocketFacts);

// Not every process that can connect may have the descriptors.
Result<void> check_user(const Socket& socket) {
  const auto peer = socket.peer_credentials();
  if (!peer) return std::unexpected(Error("SO_PEERCRED", peer.error()));
  if (peer->uid != ::geteuid() && peer->uid != 0) {
    return std::unexpected(
        Error(fmt::format("process {} belongs to user {}", peer->pid, peer->uid), Errno(EPERM)));
  }
  return {};
}

// Waits until a descriptor is readable. Needs no resources after make().
class ReadWait {
 public:
  static SysResult<ReadWait> make(int fd) {
    auto epoll = sys::epoll_create();
    if (!epoll) return std::unexpected(epoll.error());
    auto added = sys::epoll_ctl(epoll->get(), EPOLL_CTL_ADD, fd, EPOLLIN, 0);
    if (!added) return std::unexpected(added.error());
    return ReadWait(std::move(*epoll));
  }
  SysResult<void> until(TimePoint deadline) {
    for (;;) {
      const Duration left = deadline - sys::now();
      if (left <= Duration::zero()) return std::unexpected(Errno(ETIMEDOUT));
      std::array<epoll_event, 1> event{};
      const auto ready = sys::epoll_wait(epoll_.get(), event, left);
      if (ready && *ready > 0) return {};
      if (!ready && !(ready.error() == EINTR)) return std::unexpected(ready.error());
    }
  }

 private:
  explicit ReadWait(Fd epoll) : epoll_(std::move(epoll)) {}

  Fd epoll_;
};

// The whole offer is one message, for which an empty socket always has room.
Result<void> send_offer(Socket& to, const ListeningSocket& point,
                        const std::vector<ListenerShare>& shares) {
  std::vector<std::byte> bytes(kGreeting.size());
  std::memcpy(bytes.data(), kGreeting.data(), kGreeting.size());
  std::vector<int> descriptors;
  const auto add = [&](int fd, const FileId& file, bool lent) {
    const SocketFacts facts{.device = file.device, .inode = file.inode, .lent = lent};
    const auto raw = std::as_bytes(std::span(&facts, 1));
    bytes.insert(bytes.end(), raw.begin(), raw.end());
    descriptors.push_back(fd);
  };
  add(point.fd(), point.file(), point.lent());
  for (const ListenerShare& share : shares) add(share.fd.get(), share.file, share.lent);
  if (descriptors.size() > kMaxPassedDescriptors) {
    return std::unexpected(
        Error(fmt::format("{} listening sockets do not fit into one message", shares.size()),
              Errno(E2BIG)));
  }
  const auto sent = send_descriptors(to, bytes, descriptors);
  if (!sent) return std::unexpected(Error("sendmsg", sent.error()));
  if (*sent < bytes.size()) return std::unexpected(Error("sendmsg", Errno(EMSGSIZE)));
  return {};
}

}  // namespace

// --- the old server ------------------------------------------------------------------------------

// Shared, because a conversation can end inside its own on_ready().
class HandOver::Impl final : public std::enable_shared_from_this<Impl>,
                             public internal::Kept,
                             private IoHandler {
 public:
  Impl(EventLoop& loop, TcpServer& server, ListeningSocket point,
       std::move_only_function<void()> taken_over)
      : loop_(loop),
        server_(server),
        point_(std::move(point)),
        taken_over_(std::move(taken_over)),
        point_channel_(loop, point_.fd(), *this) {
    point_channel_.set_reading(true);
  }

  // The channels leave epoll before their descriptors are closed.
  void end() {
    end_conversation();
    point_channel_.remove();
    point_.close();
    taken_over_ = nullptr;
  }

 private:
  // One successor.
  struct Conversation final : IoHandler, internal::Kept {
    Conversation(Impl& impl, Socket with)
        : owner(impl), socket(std::move(with)), channel(owner.loop_, socket.fd(), *this) {
      channel.set_reading(true);
    }
    void on_ready(std::uint32_t) override { owner.on_answer(); }
    void on_interest_refused(Errno error) override {
      owner.drop(Error("epoll_ctl", error).message());
    }

    Impl& owner;
    Socket socket;
    Channel channel;
  };

  // A successor connects.
  void on_ready(std::uint32_t) override {
    auto socket = point_.socket().accept();
    if (!socket) {
      // EAGAIN: it has disconnected. After any other error a pause keeps the loop from spinning.
      if (!(socket.error() == EAGAIN)) pause(Error("accept", socket.error()).message());
      return;
    }
    auto shares = server_.duplicate_listeners();
    auto offered = check_user(*socket);
    if (offered && !shares) offered = std::unexpected(shares.error());
    if (offered) offered = send_offer(*socket, point_, *shares);
    if (!offered) {
      WEIR_LOG_LIMITED(warn, 1, "hand-over at {}: refused: {}", point_.address().to_string(),
                       offered.error().message());
      return;
    }
    point_channel_.set_reading(false);  // others wait in the backlog
    conversation_ = std::make_shared<Conversation>(*this, std::move(*socket));
    deadline_ = loop_.run_after(kDeadline, [this] { drop("it did not answer in time"); });
  }

  void on_interest_refused(Errno error) override { pause(Error("epoll_ctl", error).message()); }

  void pause(const std::string& why) {
    WEIR_LOG_LIMITED(warn, 1, "hand-over at {}: {}; retrying in {} s", point_.address().to_string(),
                     why, std::chrono::duration_cast<std::chrono::seconds>(kDeadline).count());
    point_channel_.set_reading(false);
    deadline_ = loop_.run_after(kDeadline, [this] { point_channel_.set_reading(true); });
  }

  // The successor has answered or has disconnected.
  void on_answer() {
    Socket& socket = conversation_->socket;
    std::array<std::byte, 8> word{};
    const auto got = socket.receive(word);
    if (!got && got.error() == EAGAIN) return;
    if (!got || *got != kServing.size() || word[0] != kServing[0]) {
      drop(got ? (*got == 0 ? "it closed the connection" : "its answer is invalid") : "recv");
      return;
    }
    // A server that was shut down since then would hand over sockets that refuse connections.
    if (const auto serving = server_.duplicate_listeners(); !serving) {
      drop(serving.error().message());
      return;
    }
    if (const auto sent = socket.send(kLetGo); !sent) {
      drop(Error("send", sent.error()).message());
      return;
    }
    auto taken_over = std::move(taken_over_);
    point_.leave_file();
    end();
    taken_over();
  }

  // Ends the conversation; this server continues as before.
  void drop(std::string_view why) {
    WEIR_LOG_LIMITED(warn, 1, "hand-over at {}: the successor did not take over: {}",
                     point_.address().to_string(), why);
    end_conversation();
    point_channel_.set_reading(true);
  }

  void end_conversation() {
    if (deadline_) loop_.cancel(std::exchange(deadline_, {}));
    if (!conversation_) return;
    conversation_->channel.remove();
    conversation_->socket.close();
    internal::core_of(loop_).keep_until_reaped(std::exchange(conversation_, nullptr));
  }

  EventLoop& loop_;
  TcpServer& server_;
  ListeningSocket point_;
  std::move_only_function<void()> taken_over_;
  Channel point_channel_;
  std::shared_ptr<Conversation> conversation_;
  TimerId deadline_;  // of the conversation, or of a pause
};

Result<ListeningSocket> HandOver::open_point(const std::string& path) {
  const auto address = SocketAddress::from_unix_path(path);
  if (!address) return std::unexpected(address.error().within("hand-over"));
  // A backlog of one: while one successor is served, another one waits or retries.
  auto point = ListeningSocket::open(*address, {.backlog = 1});
  if (!point) return std::unexpected(point.error().within("hand-over"));
  return point;
}

HandOver::HandOver(EventLoop& loop, TcpServer& server, ListeningSocket point,
                   std::move_only_function<void()> taken_over)
    : impl_(std::make_shared<Impl>(loop, server, std::move(point), std::move(taken_over))),
      loop_(loop) {}

HandOver::~HandOver() {
  impl_->end();
  internal::core_of(loop_).keep_until_reaped(std::move(impl_));  // its on_ready() may be running
}

// --- the new server ------------------------------------------------------------------------------

Result<std::optional<Predecessor>> Predecessor::ask(const std::string& path, Duration deadline) {
  const TimePoint end = saturating_add(sys::now(), deadline);
  const auto failed = [&path](const Error& error) {
    return std::unexpected(error.within("hand-over at " + path));
  };
  const auto address = SocketAddress::from_unix_path(path);
  if (!address) return failed(address.error());
  auto socket = Socket::stream(address->family());
  if (!socket) return failed(Error("socket", socket.error()));
  if (auto connected = socket->connect(*address); !connected) {
    if (connected.error() == ENOENT || connected.error() == ECONNREFUSED) {
      return std::optional<Predecessor>();
    }
    return failed(Error("connect", connected.error()));
  }
  if (auto checked = check_user(*socket); !checked) return failed(checked.error());
  Predecessor predecessor(std::move(*socket));
  if (auto received = predecessor.receive_offer(end); !received) return failed(received.error());
  return std::optional<Predecessor>(std::move(predecessor));
}

Result<void> Predecessor::receive_offer(TimePoint deadline) {
  const auto failed = [](Errno code) {
    return std::unexpected(Error("wait for the listening sockets", code));
  };
  auto wait = ReadWait::make(socket_.fd());
  if (!wait) return failed(wait.error());
  std::array<std::byte, kLongestOffer> bytes{};
  std::size_t size = 0;
  std::size_t expected = kGreeting.size();
  std::vector<Fd> descriptors;
  while (size < expected) {  // usually one receive; ends with the offer, the stream or the deadline
    if (auto ready = wait->until(deadline); !ready) return failed(ready.error());
    auto part = receive_descriptors(socket_, std::span(bytes).subspan(size));
    if (!part && part.error() == EAGAIN) continue;
    if (!part) return std::unexpected(Error("recvmsg", part.error()));
    if (part->bytes == 0) return std::unexpected(Error("the old server refused", Errno(EPERM)));
    size += part->bytes;
    std::ranges::move(part->descriptors, std::back_inserter(descriptors));
    expected =
        kGreeting.size() + std::max<std::size_t>(descriptors.size(), 1) * sizeof(SocketFacts);
  }
  const bool greeted = std::memcmp(bytes.data(), kGreeting.data(), kGreeting.size()) == 0;
  if (!greeted || descriptors.empty() || size != expected) {
    return std::unexpected(
        Error("the process that listens there does not hand over sockets", Errno(EPROTO)));
  }
  for (std::size_t i = 0; i < descriptors.size(); ++i) {
    SocketFacts facts{};
    std::memcpy(&facts, bytes.data() + kGreeting.size() + i * sizeof(facts), sizeof(facts));
    auto adopted = ListeningSocket::adopt(std::move(descriptors[i]));
    if (!adopted) return std::unexpected(std::move(adopted.error()));
    adopted->own_file({.device = facts.device, .inode = facts.inode}, files_are_ours_);
    if (facts.lent != 0) adopted->set_lent();
    if (i == 0) {
      point_ = std::move(*adopted);
    } else {
      listeners_.push_back(std::move(*adopted));
    }
  }
  return {};
}

Result<void> Predecessor::take_over(Duration deadline) {
  const auto failed = [](std::string_view step, Errno code) {
    return std::unexpected(Error(fmt::format("take over from the old server: {}", step), code));
  };
  const TimePoint end = saturating_add(sys::now(), deadline);
  // Before the message: once the old server has it, it lets go.
  auto wait = ReadWait::make(socket_.fd());
  if (!wait) return failed("wait for its confirmation", wait.error());
  if (auto sent = socket_.send(kServing); !sent) return failed("send", sent.error());
  if (auto ready = wait->until(end); !ready) {
    return failed("wait for its confirmation", ready.error());
  }
  std::array<std::byte, 8> word{};
  const auto got = socket_.receive(word);
  if (!got) return failed("recv", got.error());
  if (*got != kLetGo.size() || word[0] != kLetGo[0]) {
    return failed("it did not confirm", Errno(EPROTO));
  }
  files_are_ours_->store(true, std::memory_order_relaxed);
  socket_.close();
  return {};
}

}  // namespace weir
