// EchoWorker: the clients of one loop. [loop] unless marked.
//
//   connect() -> all connected or failed -> begin() -> finish() -> all answered -> done
//
// Each arrow to the right of a state is told through Listener, from the loop's thread.
#pragma once

#include <cstddef>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "load/echo_client.h"
#include "load/report.h"
#include "load/settings.h"
#include "weir/net/reactor/event_loop.h"

namespace weir::load {

class EchoWorker {
 public:
  struct Listener {
    std::function<void()> on_connected;  // each client is connected or has failed
    std::function<void()> on_done;       // nothing is in flight any more
  };

  // Serves clients `first`, `first + step`, ... Made on any thread, used and destroyed on the loop.
  EchoWorker(EventLoop& loop, const EchoSettings& settings, const Pattern& pattern,
             std::size_t first, std::size_t step, Listener listener);

  void connect();
  void begin();
  void finish();
  // Gives up on what did not come.
  void abandon();
  // Closes everything.
  void close();
  // What has happened since the last call.
  Numbers take_numbers();
  TimePoint last_message() const { return last_message_; }

  // For its clients.
  EventLoop& loop() { return loop_; }
  const EchoSettings& settings() const { return settings_; }
  const Pattern& pattern() const { return pattern_; }
  std::span<std::byte> receive_room() { return receive_room_; }
  void client_connected();
  void client_failed(std::string kind, bool was_connected, bool was_waiting);
  // After finish(): all of its messages have come back.
  void client_rests();
  void message_done(Duration latency);

 private:
  void connect_more();
  void connect_settled();
  void check_done();

  EventLoop& loop_;
  const EchoSettings& settings_;
  const Pattern& pattern_;
  const Listener listener_;
  std::vector<std::unique_ptr<EchoClient>> clients_;
  std::vector<std::byte> receive_room_;
  Numbers numbers_;
  TimePoint last_message_;

  std::size_t next_ = 0;  // the next client to connect
  std::size_t connecting_ = 0;
  std::size_t alive_ = 0;       // connected now
  std::size_t unanswered_ = 0;  // after finish(): clients with messages in flight
  bool connected_told_ = false;
  bool begun_ = false;
  bool finishing_ = false;
  bool done_told_ = false;
  bool retry_set_ = false;
};

}  // namespace weir::load
