#include "chat/room.h"

#include <fmt/format.h>

#include <utility>

namespace chat {

using weir::SharedBytes;

std::string Room::enter(weir::TcpConnection& connection, std::string_view nickname) {
  std::deque<SharedBytes> history;
  std::size_t here = 0;
  {
    const std::lock_guard lock(mutex_);
    if (std::string sentence = check_nickname(nickname); !sentence.empty()) return sentence;
    members_.emplace(nickname, Member{connection.ref(), &connection.loop()});
    announce(fmt::format("* {} joined", nickname));
    arriving_.leave(connection);
    everybody_.join(connection);  // gets all later lines
    history = history_;           // the earlier lines
    here = members_.size();
  }
  for (SharedBytes& line : history) connection.send(std::move(line));
  connection.send(
      fmt::format("* welcome, {}; {} here; /help lists the commands\n", nickname, here));
  return {};
}

void Room::leave(weir::TcpConnection& connection, std::string_view nickname) {
  const std::lock_guard lock(mutex_);
  members_.erase(members_.find(nickname));
  everybody_.leave(connection);
  if (!ended_) announce(fmt::format("* {} left", nickname));
}

std::string Room::rename(std::string_view nickname, std::string_view wanted) {
  const std::lock_guard lock(mutex_);
  const auto old = members_.find(nickname);
  if (wanted == old->first) return "that is your nickname already";
  const bool same = members_.find(wanted) == old;  // differs in upper and lower case only
  if (std::string sentence = check_nickname(wanted); !sentence.empty() && !same) return sentence;
  const Member member = old->second;
  announce(fmt::format("* {} is now {}", nickname, wanted), member.connection);
  post(member, fmt::format("* you are now {}\n", wanted));
  members_.erase(old);
  members_.emplace(wanted, member);
  return {};
}

void Room::say(std::string_view nickname, std::string_view line) {
  const SharedBytes bytes = SharedBytes::copy(fmt::format("{}\n", line));
  const std::lock_guard lock(mutex_);
  remember(bytes);
  everybody_.send(bytes, members_.find(nickname)->second.connection);
}

std::string Room::whisper(std::string_view nickname, std::string_view to, std::string_view text) {
  const std::lock_guard lock(mutex_);
  const auto receiver = members_.find(to);
  if (receiver == members_.end()) return fmt::format("nobody here is called \"{}\"", to);
  post(receiver->second, fmt::format("{} (to you): {}\n", nickname, text));
  post(members_.find(nickname)->second, fmt::format("-> {}: {}\n", receiver->first, text));
  return {};
}

void Room::who(std::string_view nickname, std::string_view beginning) {
  const std::lock_guard lock(mutex_);
  std::string names;
  std::size_t named = 0;
  bool more = false;
  for (auto member = members_.lower_bound(beginning); member != members_.end(); ++member) {
    const std::string_view name = member->first;
    if (IgnoreCase()(beginning, name.substr(0, beginning.size()))) break;
    more = named == kMaxNames;
    if (more) break;
    names += (++named == 1 ? ": " : ", ") + std::string(name);
  }
  // The number of all members is known; counting those with a given beginning would be slow.
  std::string count = std::to_string(named);
  if (more && beginning.empty()) {
    count = std::to_string(members_.size());
    names += fmt::format(" and {} more", members_.size() - named);
  } else if (more) {
    count = fmt::format("more than {}", named);
    names += " and more";
  }
  post(members_.find(nickname)->second, fmt::format("* {} here{}\n", count, names));
}

void Room::send_to(std::string_view nickname, std::string_view lines) {
  const std::lock_guard lock(mutex_);
  post(members_.find(nickname)->second, lines);
}

void Room::end(std::string_view line) {
  const std::lock_guard lock(mutex_);
  const SharedBytes bytes = SharedBytes::copy(fmt::format("{}\n", line));
  everybody_.send(bytes);
  arriving_.send(bytes);
  ended_ = true;
}

std::string Room::check_nickname(std::string_view nickname) const {
  if (ended_) return "the server is going down";
  if (!is_nickname(nickname)) {
    return fmt::format("a nickname has 1 to {} characters: letters (a to z), digits, _ and -",
                       kMaxNickname);
  }
  if (members_.contains(nickname)) return fmt::format("the nickname \"{}\" is taken", nickname);
  return {};
}

void Room::announce(std::string_view line, const weir::ConnectionRef& except) {
  everybody_.send(SharedBytes::copy(fmt::format("{}\n", line)), except);
}

void Room::remember(const SharedBytes& line) {
  history_.push_back(line);
  history_bytes_ += line.size();
  while (history_.size() > max_history_ ||
         (history_bytes_ > kMaxHistoryBytes && history_.size() > 1)) {
    history_bytes_ -= history_.front().size();
    history_.pop_front();
  }
}

// Posts also on the member's own loop: to send at once would overtake what was posted before.
void Room::post(const Member& member, std::string_view lines) {
  member.loop->post([connection = member.connection, bytes = SharedBytes::copy(lines)] {
    connection.send(bytes);
  });
}

}  // namespace chat
