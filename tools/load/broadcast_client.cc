#include "load/broadcast_client.h"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <utility>

#include "load/worker.h"

namespace weir::load {

namespace {

// Until all receivers have joined, the sender sends a line at this interval: only a received line
// shows that the server has accepted a connection.
constexpr Duration kProbes = std::chrono::milliseconds(50);
constexpr std::size_t kMostUnsent = std::size_t{64} * 1024 * 1024;
constexpr std::size_t kDigits = 16;
constexpr std::size_t kHead = 2 * kDigits + 2;
// A received line may be this much longer than the message; it also bounds the lines of a room.
constexpr std::size_t kLineRoom = 8192;
constexpr std::string_view kLetters =
    "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789+-";

// Character `at` behind the head of message `number`.
char letter(std::uint64_t number, std::size_t at) {
  std::uint64_t x = (number * 0x9e3779b97f4a7c15) + at / 8;
  x = (x ^ (x >> 29)) * 0xbf58476d1ce4e5b9;
  return kLetters[(x >> (at % 8 * 7)) % kLetters.size()];
}

bool read_hex(std::string_view text, std::uint64_t& number) {
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), number, 16);
  return error == std::errc() && end == text.data() + text.size();
}

}  // namespace

// --- both ----------------------------------------------------------------------------------------

bool BroadcastClient::chat() const { return worker_.settings().mode == Mode::chat; }

void BroadcastClient::connected() {
  if (chat()) {
    const std::string& prefix = worker_.settings().chat_prefix;
    const std::string name = prefix.substr(0, prefix.find(':'));
    unsent_ = index_ == 0 ? name : fmt::format("r{}-{}", name, index_);
    unsent_ += '\n';
    write();
  } else {
    can_begin();
  }
}

void BroadcastClient::received(std::span<const std::byte> bytes) {
  std::string_view text(reinterpret_cast<const char*>(bytes.data()), bytes.size());
  while (is_connected()) {
    const std::size_t end = text.find('\n');
    if (end == std::string_view::npos) break;
    if (unfinished_.empty()) {
      line(text.substr(0, end));
    } else {
      unfinished_.append(text.substr(0, end));
      line(std::exchange(unfinished_, {}));
    }
    text.remove_prefix(end + 1);
  }
  unfinished_.append(text);
  if (unfinished_.size() > worker_.settings().size + kLineRoom) {
    fail("a received line is longer than the line that was sent");
  }
}

void BroadcastClient::welcome_line(std::string_view text) {
  if (text.starts_with("* welcome, ")) {
    welcome_ = true;
    can_begin();
  } else if (text.starts_with("! ")) {
    fail("the chat server refused the nickname");
  }
}

void BroadcastClient::failed(const std::string& kind, bool was_connected) {
  static_cast<void>(was_connected);
  unsent_.clear();
  unsent_from_ = 0;
  worker_.client_failed(kind, std::exchange(ready_, true));
}

void BroadcastClient::write() {
  while (unsent_from_ < unsent_.size()) {
    const auto bytes = std::as_bytes(std::span(unsent_)).subspan(unsent_from_);
    std::size_t taken = 0;
    if (!send(bytes, taken)) return;
    unsent_from_ += taken;
    if (taken < bytes.size()) break;
  }
  if (unsent_from_ == unsent_.size()) {
    unsent_.clear();
    unsent_from_ = 0;
  }
  channel_->set_writing(!unsent_.empty());
}

// --- the sender ----------------------------------------------------------------------------------

BroadcastSender::BroadcastSender(Worker& worker, std::size_t index, Crowd& crowd)
    : BroadcastClient(worker, index, crowd), parts_(crowd.size()) {
  crowd.set_sender(*this);
}

void BroadcastSender::can_begin() {
  ready_ = true;
  worker_.client_ready();
  probing_ = !chat();  // in chat mode the welcome shows it
  if (probing_) probe();
}

void BroadcastSender::probe() {
  if (!probing_ || !is_connected()) return;
  if (unsent_.empty()) put_message(Clock::now());
  worker_.loop().run_after(kProbes, [this] { probe(); });
}

void BroadcastSender::line(std::string_view text) {
  if (chat() && !welcome_) {
    welcome_line(text);
  } else if (chat() && text.starts_with("! ")) {
    worker_.count_error("the chat server refused a line");
  }
}

void BroadcastSender::begin(std::uint64_t quota) {
  probing_ = false;
  sending_ = true;
  set_quota(quota);
}

void BroadcastSender::set_quota(std::uint64_t quota) {
  quota_ = quota;
  if (!is_connected()) sending_ = false;
  fill_up();
  check_end();
}

void BroadcastSender::progress(std::size_t part, std::uint64_t everyone_has) {
  parts_[part] = everyone_has;
  if (!is_connected()) return;
  fill_up();
  check_end();
}

void BroadcastSender::fill_up() {
  if (worker_.settings().open_loop()) return;
  while (sending_ && quota_ > 0 && is_connected()) {
    const std::uint64_t everyone_has = *std::ranges::min_element(parts_);
    if (number_ >= everyone_has && number_ - everyone_has >= worker_.settings().depth) return;
    if (everyone_has == CrowdPart::kAll) return;  // no receiver is left
    put_message(Clock::now());
  }
}

void BroadcastSender::request(TimePoint scheduled) {
  if (quota_ == 0 || !sending_) return;
  if (unsent_.size() > kMostUnsent) {
    worker_.count_error("not sent: the server does not read");
    if (quota_ != kNoQuota) --quota_;
  } else {
    put_message(scheduled);
  }
  check_end();
}

void BroadcastSender::put_message(TimePoint when) {
  if (sending_ && quota_ != kNoQuota) --quota_;
  const auto ns = static_cast<std::uint64_t>(when.time_since_epoch().count());
  std::string text =
      fmt::format("{:016x}{}{:016x} ", number_, worker_.measured(when) ? '+' : ' ', ns);
  for (std::size_t at = kHead; at + 1 < worker_.settings().size; ++at) {
    text += letter(number_, at);
  }
  text += '\n';
  ++number_;
  worker_.message_sent(when);
  unsent_ += text;
  write();
}

void BroadcastSender::finish() {
  sending_ = false;
  probing_ = false;
  check_end();
}

void BroadcastSender::check_end() {
  if (ended_ || (sending_ && quota_ > 0)) return;
  ended_ = true;
  crowd_.notify_all_sent(is_connected() ? number_ : 0);
  done();
}

void BroadcastSender::failed(const std::string& kind, bool was_connected) {
  BroadcastClient::failed(kind, was_connected);
  sending_ = probing_ = false;
  ended_ = true;
  crowd_.notify_all_sent(0);
  done();
}

// --- a receiver ----------------------------------------------------------------------------------

BroadcastReceiver::BroadcastReceiver(Worker& worker, std::size_t index, Crowd& crowd)
    : BroadcastClient(worker, index, crowd), part_(crowd.part(index)) {
  part_.add(*this);
}

// In chat mode it joins with the welcome, otherwise with the first message.
void BroadcastReceiver::can_begin() {
  if (!chat()) return;
  joined_ = ready_ = true;
  worker_.client_ready();
}

void BroadcastReceiver::begin(std::uint64_t) { part_.begin(); }

void BroadcastReceiver::finish() {
  if (!joined()) done();
}

std::uint64_t BroadcastReceiver::unanswered() const {
  if (!is_connected()) return 0;
  if (!joined_) return 1;
  return part_.last() == CrowdPart::kAll || has_ >= part_.last() ? 0 : part_.last() - has_;
}

std::string BroadcastReceiver::unanswered_kind() const {
  return joined_ ? "not delivered in time" : "connected, but nothing is delivered";
}

void BroadcastReceiver::line(std::string_view text) {
  if (!chat()) {
    message(text);
  } else if (!welcome_) {
    welcome_line(text);
  } else if (text.starts_with(worker_.settings().chat_prefix)) {
    message(text.substr(worker_.settings().chat_prefix.size()));
  }
}

void BroadcastReceiver::message(std::string_view text) {
  std::uint64_t number = 0;
  std::uint64_t sent = 0;
  if (text.size() + 1 != worker_.settings().size || !read_hex(text.substr(0, kDigits), number) ||
      !read_hex(text.substr(kDigits + 1, kDigits), sent)) {
    worker_.count_error("a received line is not one of the messages");
    return;
  }
  if (worker_.settings().verify) {
    for (std::size_t at = kHead; at < text.size(); ++at) {
      if (text[at] == letter(number, at)) continue;
      worker_.count_error("other bytes came back than were sent");
      worker_.note_difference(fmt::format("receiver {}, message {}, byte {}", index_, number, at));
      count_in(number);
      return;
    }
  }
  const bool expected = !numbered_ || number >= has_;
  count_in(number);
  if (expected) {
    worker_.message_done(TimePoint(Duration(static_cast<std::int64_t>(sent))), Clock::now(),
                         text[kDigits] == '+');
  }
}

void BroadcastReceiver::count_in(std::uint64_t number) {
  const std::uint64_t before = has_;
  if (!numbered_ && !chat()) {
    numbered_ = joined_ = ready_ = true;
    has_ = number + 1;
    worker_.client_ready();
    return;
  }
  numbered_ = true;
  if (number < has_) {
    worker_.count_error("a message was received twice or late");
    return;
  }
  if (number > has_) worker_.count_error("a message is missing", number - has_);
  has_ = number + 1;
  part_.changed(before);
}

void BroadcastReceiver::failed(const std::string& kind, bool was_connected) {
  const bool took_part = joined_;
  joined_ = false;
  BroadcastClient::failed(kind, was_connected);
  if (took_part) part_.changed(has_);
  done();
}

}  // namespace weir::load
