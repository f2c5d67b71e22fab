// weir-printer-client: sends a line, or all of standard input, to a weir-printer-server.
//
// A client that does one thing needs no event loop: a socket and poll(2) are enough. Connecting and
// sending have a deadline, and a short send is continued. The client reports success only when the
// server has closed its side after ours, because the server has read every byte then.

#include <poll.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstdio>
#include <string>
#include <string_view>
#include <vector>

#include "common/command_line.h"
#include "weir/base/clock.h"
#include "weir/base/result.h"
#include "weir/net/socket/socket.h"
#include "weir/net/socket/socket_address.h"

namespace {

using weir::Errno;
using weir::Error;
using weir::Result;
using weir::Socket;

// Waits until one of `events` is reported; ETIMEDOUT after `timeout`. Zero: waits for ever.
weir::SysResult<void> wait(const Socket& socket, short events, weir::Duration timeout) {
  if (timeout == weir::Duration::zero()) timeout = weir::Duration::max();
  const auto deadline = weir::saturating_add(weir::Clock::now(), timeout);
  for (;;) {
    const auto left = std::chrono::ceil<std::chrono::milliseconds>(deadline - weir::Clock::now());
    pollfd item{.fd = socket.fd(), .events = events, .revents = 0};
    const int ready =
        poll(&item, 1, static_cast<int>(std::clamp<long long>(left.count(), 0, 60'000)));
    if (ready > 0) return {};
    if (ready < 0 && errno != EINTR) return std::unexpected(Errno::last());
    if (weir::Clock::now() >= deadline) return std::unexpected(Errno(ETIMEDOUT));
  }
}

Result<Socket> connect(const weir::SocketAddress& address, weir::Duration timeout) {
  const std::string what = "connect to " + address.to_string();
  auto socket = Socket::stream(address.family());
  if (!socket) return std::unexpected(Error(what, socket.error()));
  if (auto done = socket->connect(address); !done) {
    if (done.error() != EINPROGRESS) return std::unexpected(Error(what, done.error()));
    // The attempt is in progress. When it ends, the socket is writable and error() has the result.
    if (auto ready = wait(*socket, POLLOUT, timeout); !ready) {
      return std::unexpected(Error(what, ready.error()));
    }
    if (const Errno error = socket->error()) return std::unexpected(Error(what, error));
  }
  return std::move(*socket);
}

Result<void> send_all(Socket& socket, std::string_view text, weir::Duration timeout) {
  auto bytes = std::as_bytes(std::span(text.data(), text.size()));
  while (!bytes.empty()) {
    const auto sent = socket.send(bytes);
    if (sent) {
      bytes = bytes.subspan(*sent);
    } else if (sent.error() != EAGAIN) {
      return std::unexpected(Error("send", sent.error()));
    } else if (auto ready = wait(socket, POLLOUT, timeout); !ready) {
      return std::unexpected(Error("send", ready.error()));
    }
  }
  return {};
}

// Sends standard input. Notices also while it waits for input that the server has closed.
Result<void> send_input(Socket& socket, weir::Duration timeout) {
  std::array<char, 16 * 1024> block;
  char last = '\n';
  for (;;) {
    std::array<pollfd, 2> items{pollfd{.fd = STDIN_FILENO, .events = POLLIN, .revents = 0},
                                pollfd{.fd = socket.fd(), .events = POLLIN, .revents = 0}};
    if (poll(items.data(), items.size(), -1) < 0) {
      if (errno == EINTR) continue;
      return std::unexpected(Error("poll", Errno::last()));
    }
    if (items[1].revents != 0) {
      return std::unexpected(Error("send", Errno(ECONNRESET)));  // a printer never answers
    }
    if (items[0].revents == 0) continue;
    const ssize_t size = read(STDIN_FILENO, block.data(), block.size());
    if (size < 0 && errno == EINTR) continue;
    if (size < 0) return std::unexpected(Error("read standard input", Errno::last()));
    if (size == 0) break;
    const std::string_view text(block.data(), static_cast<std::size_t>(size));
    last = text.back();
    if (auto done = send_all(socket, text, timeout); !done) return done;
  }
  return last == '\n' ? Result<void>() : send_all(socket, "\n", timeout);
}

// Half-closes, then waits until the server has read everything and closes its side.
Result<void> finish(Socket& socket, weir::Duration timeout) {
  if (auto done = socket.shutdown(Socket::How::write); !done) {
    return std::unexpected(Error("shutdown", done.error()));
  }
  std::array<std::byte, 512> ignored;
  for (;;) {
    if (auto ready = wait(socket, POLLIN, timeout); !ready) {
      return std::unexpected(Error("wait for the printer to close", ready.error()));
    }
    const auto size = socket.receive(ignored);
    if (size && *size == 0) return {};
    if (!size && size.error() != EAGAIN) {
      return std::unexpected(Error("wait for the printer to close", size.error()));
    }
  }
}

}  // namespace

int main(int argc, char** argv) {
  std::string text = "127.0.0.1:6666";
  weir::Duration timeout = std::chrono::seconds(10);
  std::vector<std::string> words;
  CLI::App app("Sends a line to a weir-printer-server.", "weir-printer-client");
  sample::address_option(app, "--connect", text, "the server");
  sample::seconds_option(app, "--timeout", timeout,
                         "to wait for the server at each step; 0: for ever");
  sample::words_option(app, "words", words, "the line to send; without it, standard input is sent");
  return sample::run(app, argc, argv, [&] {
    const auto address = weir::SocketAddress::parse(text).value();
    auto socket = connect(address, timeout);
    if (!socket) return weir::fail(socket.error());
    Result<void> sent;
    if (words.empty()) {
      sent = send_input(*socket, timeout);
    } else {
      sent = send_all(*socket, sample::joined(words) + "\n", timeout);
    }
    if (sent) sent = finish(*socket, timeout);
    if (!sent) return weir::fail(sent.error().within(address.to_string()));
    return 0;
  });
}
