// Room: the members, the last lines, and the order in which all members see events. [any]
//
// One mutex guards everything. While it is held, output is passed to the loops of the members
// (Broadcast::send, EventLoop::post); these functions never wait and call nothing back. So every
// member, on every loop, sees the changes of the room in the same order: a member's line never
// comes before the notice that the member joined, nor after the notice that it left. A new member
// gets each line once, from the history or live.
//
// A nickname is in the table exactly while its connection is in the room. Only that connection, on
// its own thread, removes it. A connection leaves the room when it can send no more lines, which
// may be long before its last output is sent. The nickname is free at once; on_close() of the old
// connection does not remove it from a new owner.
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
  // The limit of the history in bytes, besides its limit in lines. One line is always kept.
  static constexpr std::size_t kMaxHistoryBytes = 64 * 1024;
  // The limit of names in one answer to who().
  static constexpr std::size_t kMaxNames = 50;

  Room(weir::SlowPolicy slow, std::size_t history) : max_history_(history), everybody_(slow) {}

  // A connection without a nickname. It gets the line of end(), and nothing else. [loop]
  void arrive(weir::TcpConnection& connection) { arriving_.join(connection); }
  // Makes the connection a member, and sends it the history and a welcome. Returns an empty string,
  // or a sentence with the reason of a refusal; so do rename() and whisper(). [loop]
  std::string enter(weir::TcpConnection& connection, std::string_view nickname);
  void leave(weir::TcpConnection& connection, std::string_view nickname);  // [loop]
  std::string rename(std::string_view nickname, std::string_view wanted);

  // Sends `line`, as it is, to all members but the speaker.
  void say(std::string_view nickname, std::string_view line);
  std::string whisper(std::string_view nickname, std::string_view to, std::string_view text);
  // Sends the list of members whose nicknames start with `beginning`.
  void who(std::string_view nickname, std::string_view beginning);
  // Sends lines to one member, in order with everything else that it gets.
  void send_to(std::string_view nickname, std::string_view lines);

  // Sends a last line to all connections, including those without a nickname. After that nobody
  // can enter, and no notices about leaving members are sent.
  void end(std::string_view line);

 private:
  struct Member {
    weir::ConnectionRef connection;
    weir::EventLoop* loop;  // the connection's, which outlives it
  };
  using Members = std::map<std::string, Member, IgnoreCase>;

  // All with mutex_ held.
  std::string check_nickname(std::string_view nickname) const;
  void announce(std::string_view line, const weir::ConnectionRef& except = {});
  void remember(const weir::SharedBytes& line);
  static void post(const Member& member, std::string_view lines);

  const std::size_t max_history_;
  std::mutex mutex_;
  Members members_;                        // by nickname
  std::deque<weir::SharedBytes> history_;  // oldest first
  std::size_t history_bytes_ = 0;
  bool ended_ = false;
  weir::Broadcast everybody_;
  weir::Broadcast arriving_;  // without a nickname
};

}  // namespace chat
