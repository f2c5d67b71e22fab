// Worker: the clients of one loop, in any mode. [loop] unless marked.
//
//   connect() -> all are ready or have failed -> begin() -> [measure()] -> finish() -> all are done
//
// The Listener is notified, on the loop's thread, when all are ready and when all are done. All can
// be done before finish(): with a quota of messages, or when all have failed.
#pragma once

#include <cstddef>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "load/client.h"
#include "load/numbers.h"
#include "load/settings.h"
#include "load/source_network.h"
#include "weir/base/aligned_bytes.h"
#include "weir/net/reactor/event_loop.h"

namespace weir::load {

class Worker {
 public:
  struct Listener {
    std::function<void()> on_ready;
    std::function<void()> on_done;
  };
  // Makes the client with this index among the clients of all workers.
  using MakeClient = std::function<std::unique_ptr<Client>(Worker&, std::size_t index)>;

  // Has the clients `first`, `first + step`, ... Constructed on any thread, used and destroyed on
  // the loop.
  Worker(EventLoop& loop, const Settings& settings, std::size_t first, std::size_t step,
         const MakeClient& make, Listener listener);

  void connect();
  // Starts the clients. A schedule begins at `when`; if `measured`, so does the measured part.
  void begin(TimePoint when, bool measured);
  void measure();
  void finish();
  // Ends the wait for connections and answers that are missing.
  void abandon();
  // Closes all connections.
  void close();
  // The numbers since the last call.
  Numbers take_numbers();

  // For its clients.
  EventLoop& loop() { return loop_; }
  const Settings& settings() const { return settings_; }
  const SourceNetwork& spare_sources() const { return spare_sources_; }
  std::span<std::byte> receive_room() { return {receive_room_.get(), kReceiveRoom}; }
  // Arbitrary bytes; with --verify the client fills them before each use.
  std::span<std::byte> send_room() { return {send_room_.get(), kSendRoom}; }
  void count_connected(Duration took);
  void count_error(const std::string& kind, std::uint64_t times = 1);
  void note_difference(std::string where);
  // While connecting: this client is ready.
  void client_ready();
  // If the client was not ready, this also ends its connecting.
  void client_failed(const std::string& kind, bool was_ready);
  void client_done();
  void message_sent(TimePoint begun);
  // True if a message that was begun at this time belongs to the measured part.
  bool measured(TimePoint begun) const { return begun >= measure_from_; }
  void message_done(TimePoint begun, TimePoint now) { message_done(begun, now, measured(begun)); }
  void message_done(TimePoint begun, TimePoint now, bool measured);
  void datagram_lost(TimePoint begun) { numbers_.lost += measured(begun); }
  void datagram_reordered(TimePoint begun) { numbers_.reordered += measured(begun); }
  void datagram_again() { ++numbers_.again; }

 private:
  static constexpr std::size_t kReceiveRoom = 256 * 1024;
  static constexpr std::size_t kSendRoom = 128 * 1024;

  void connect_more();
  void connect_settled();
  std::uint64_t quota_of(const Client& client) const;
  void check_done();
  void note_usage_begin(TimePoint when);
  void note_usage_end();

  // Open loop: message n of the run is due at begin + n / rate and belongs to client n modulo the
  // number of clients. A broadcast has one sender, so the other workers have no schedule.
  bool has_schedule() const;
  TimePoint next_due() const;
  void send_due();

  EventLoop& loop_;
  const Settings& settings_;
  const std::size_t first_;
  const std::size_t step_;
  const Listener listener_;
  const SourceNetwork spare_sources_;
  std::vector<std::unique_ptr<Client>> clients_;
  const internal::AlignedBytes receive_room_;
  const internal::AlignedBytes send_room_;
  Numbers numbers_;

  std::size_t next_ = 0;  // the next client to connect
  std::size_t connecting_ = 0;
  std::size_t not_done_;
  bool ready_reported_ = false;
  bool begun_ = false;
  bool finishing_ = false;
  bool done_reported_ = false;
  bool retry_set_ = false;

  TimePoint began_;
  TimePoint measure_from_ = TimePoint::max();
  std::uint64_t due_round_ = 0;  // the next message of the schedule: its round and client
  std::size_t due_client_ = 0;

  bool usage_open_ = false;
  TimePoint usage_from_;
  Duration cpu_from_{0};
  std::optional<Duration> queued_from_;  // unknown without /proc
  Duration busy_from_{0};
};

}  // namespace weir::load
