#include "chat/client_io.h"

#include <poll.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <utility>

namespace chat {

Input::Input(weir::EventLoop& loop, int fd, OnBlock on_block)
    : loop_(loop), on_block_(std::move(on_block)), channel_(loop, fd, *this) {}

void Input::resume() {
  wanted_ = true;
  if (is_file_) return read_later();
  if (!channel_.removed()) channel_.set_reading(true);
}

void Input::pause() {
  wanted_ = false;
  loop_.cancel(std::exchange(next_, {}));
  if (!channel_.removed()) channel_.set_reading(false);
}

void Input::on_ready(std::uint32_t) { read_one_block(); }

// EPERM: a regular file (epoll_ctl(2)). Any other error ends the input.
void Input::on_interest_refused(weir::Errno error) {
  if (error != EPERM) return end();
  channel_.remove();
  is_file_ = true;
  read_later();
}

void Input::end() {
  pause();
  channel_.remove();
  is_file_ = false;
  on_block_({});
}

void Input::read_later() {
  loop_.cancel(next_);
  next_ = loop_.run_after(weir::Duration::zero(), [this] {
    next_ = {};
    read_one_block();
    if (wanted_) read_later();
  });
}

void Input::read_one_block() {
  std::array<char, 16 * 1024> block;
  const ssize_t size = read(channel_.fd(), block.data(), block.size());
  // A file is always ready, so a retry after its EAGAIN would never end.
  if (size < 0 && (errno == EINTR || (errno == EAGAIN && !is_file_))) return;
  if (size <= 0) return end();  // EIO: the terminal hung up
  on_block_(std::string_view(block.data(), static_cast<std::size_t>(size)));
}

Output::Output(weir::EventLoop& loop, int fd, Events events)
    : events_(std::move(events)), channel_(loop, fd, *this) {}

void Output::write(std::string_view bytes) {
  if (failed_) return;
  waiting_.append(bytes);
  was_full_ = was_full_ || full();
  if (!is_file_) return channel_.set_writing(true);
  while (write_piece()) {
  }
}

void Output::on_ready(std::uint32_t) { write_piece(); }

void Output::on_interest_refused(weir::Errno error) {
  if (error != EPERM) return fail();
  is_file_ = true;
  write({});
}

void Output::fail() {
  failed_ = true;
  waiting_.clear();
  events_.failed();
}

void Output::finish(weir::Duration timeout) {
  const auto end = weir::Clock::now() + timeout;
  while (!waiting_.empty() && !failed_) {
    const auto left = std::chrono::ceil<std::chrono::milliseconds>(end - weir::Clock::now());
    pollfd item{.fd = channel_.fd(), .events = POLLOUT, .revents = 0};
    const int most = static_cast<int>(std::max<long long>(left.count(), 0));
    const int ready = poll(&item, 1, most);
    if (ready == 0) return;
    if (ready > 0) write_piece();
  }
}

// Returns whether bytes are left.
bool Output::write_piece() {
  const std::string_view piece = waiting_.view().substr(0, kPiece);
  const ssize_t size = ::write(channel_.fd(), piece.data(), piece.size());
  if (size < 0 && errno != EINTR && (errno != EAGAIN || is_file_)) fail();
  if (size > 0) waiting_.consume(static_cast<std::size_t>(size));
  if (!waiting_.empty()) return true;
  if (!is_file_) channel_.set_writing(false);
  if (std::exchange(was_full_, false)) events_.drained();
  return false;
}

}  // namespace chat
