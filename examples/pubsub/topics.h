// The topics of weir-pubsub: the subscribers and the last message of each. [any]
//
// All loops share them under one lock, which is held for a look-up and a post. subscribe() joins
// and sends the last message in one step under the lock; publish() stores a message and sends it to
// the subscribers in one step. So a subscriber gets the last message and then each newer one, none
// twice and none missing.
#pragma once

#include <cstddef>
#include <list>
#include <map>
#include <mutex>
#include <string>
#include <string_view>

#include "weir/net/buffer/shared_bytes.h"
#include "weir/net/route/broadcast.h"
#include "weir/net/stream/tcp_connection.h"

class Topics {
 public:
  // At most `most` topics at a time. A further one replaces the topic without subscribers that has
  // been without a publication for the longest time.
  Topics(std::size_t most, weir::SlowPolicy slow) : most_(most), slow_(slow) {}

  // Sends `answer` and the last message to `conn`. False, and nothing is sent: the limit of topics
  // is reached. [loop] of `conn`
  bool subscribe(const std::string& name, weir::TcpConnection& conn, std::string_view answer);
  // `conn` must have subscribed; it may have ended since. [loop] of `conn`
  void unsubscribe(const std::string& name, weir::TcpConnection& conn);
  // `message` is sent as it is. False: the limit of topics is reached.
  bool publish(const std::string& name, const weir::SharedBytes& message);

 private:
  struct Topic;
  // Not a hash table: clients choose the names, and could choose many with the same hash.
  using Table = std::map<std::string, Topic>;
  struct Topic {
    explicit Topic(weir::SlowPolicy slow) : subscribers(slow) {}
    weir::Broadcast subscribers;
    std::size_t count = 0;                     // of subscribers
    weir::SharedBytes last;                    // empty: nothing has been published
    std::list<Table::pointer>::iterator idle;  // in idle_, if count is 0
  };

  Table::pointer find_or_make(const std::string& name);

  const std::size_t most_;
  const weir::SlowPolicy slow_;
  std::mutex mutex_;
  Table topics_;                    // pointers to its items stay valid
  std::list<Table::pointer> idle_;  // without subscribers; the longest unused first
};
