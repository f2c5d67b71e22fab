// Room: who is here, what was said last, and the order in which all hear of it. [any]
//
// One mutex guards it all. While it is held, what others are to see is handed to their loops
// (Broadcast::send, EventLoop::post), which never wait and call nothing back. So the order in which
// the room changes is the order in which everybody sees it, on whichever loop: a line of somebody
// never comes before the notice that they joined, nor after the one that they left, and who joins
// gets each line once, from the history or as it is said.
//
// A nickname stands in the table exactly while the connection that has it is in the room, and only
// that connection, on its own thread, takes it out. It leaves when it can say no more, which may be
// long before its last bytes are out: the nickname is free at once, and on_close() of the old
// connection finds nothing to take from a new owner.
#pragma once

#include <cstddef>
#include <deque>
#include <map>
#include <mutex>
#include <string>
#include <string_view>
#include <vector>

#include "chat/text.h"
#include "weir/net/buffer/shared_bytes.h"
#include "weir/net/reactor/event_loop.h"
#include "weir/net/route/broadcast.h"
#include "weir/net/stream/connection_ref.h"
#include "weir/net/stream/tcp_connection.h"

namespace chat {

class Room {
 public:
  // However many lines it is to keep, they have no more bytes than this, or one line alone.
  static constexpr std::size_t kMaxHistoryBytes = 64 * 1024;
  // Names in one answer to who().
  static constexpr std::size_t kMaxNames = 50;

  Room(weir::SlowPolicy slow, std::size_t history) : max_history_(history), everybody_(slow) {}

  // Who has no nickname yet hears of the end, and of nothing else. [loop]
  void arrive(weir::TcpConnection& connection) { arriving_.join(connection); }
  // Lets the connection in, shows it the last lines and welcomes it. Otherwise says why not: a
  // sentence, which is empty on success. So do rename() and whisper(). [loop]
  std::string enter(weir::TcpConnection& connection, std::string_view nickname);
  void leave(weir::TcpConnection& connection, std::string_view nickname);  // [loop]
  std::string rename(std::string_view nickname, std::string_view wanted);

  // `line`, as it is to be read, for all but who says it.
  void say(std::string_view nickname, std::string_view line);
  std::string whisper(std::string_view nickname, std::string_view to, std::string_view text);
  // Tells who is here, those whose nicknames begin so.
  void who(std::string_view nickname, std::string_view beginning);
  // Lines for this one member, in order with all else that it gets.
  void tell(std::string_view nickname, std::string_view lines);

  // A last word to all, those without a nickname too. From now on nobody enters, and it is not told
  // who leaves.
  void end(std::string_view line);

 private:
  struct Member {
    weir::ConnectionRef connection;
    weir::EventLoop* loop;  // the connection's, which outlives it
  };
  using Members = std::map<std::string, Member, IgnoreCase>;

  // [mutex], all of them.
  std::string why_not(std::string_view nickname) const;
  void announce(std::string_view line, const weir::ConnectionRef& except = {});
  void remember(const weir::SharedBytes& line);
  static void post(const Member& member, std::string_view lines);

  const std::size_t max_history_;
  std::mutex mutex_;
  Members members_;                        // by nickname
  std::deque<weir::SharedBytes> history_;  // the oldest first
  std::size_t history_bytes_ = 0;
  bool ended_ = false;
  weir::Broadcast everybody_;
  weir::Broadcast arriving_;  // not in the room yet
};

}  // namespace chat
