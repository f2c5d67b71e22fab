// The topics of weir-pubsub: who wants to hear of what, and the last message of each. [any]
//
// Shared by all loops under one lock, which is held for a look-up and a post. Joining and the last
// message are one step under it, and so are keeping a message and sending it to who has joined:
// whoever subscribes gets the last message and then each newer one, none twice and none missing.
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
  // `most` topics at a time. When there are as many, the one to go is that which nobody subscribes
  // to and nothing was published on for the longest time.
  Topics(std::size_t most, weir::SlowPolicy slow) : most_(most), slow_(slow) {}

  // Each is answered to `conn`, false: there is no place for the topic. [loop] of `conn`
  bool subscribe(const std::string& name, weir::TcpConnection& conn, std::string_view answer);
  // `conn` has subscribed, and may have ended meanwhile. [loop] of `conn`
  void unsubscribe(const std::string& name, weir::TcpConnection& conn);
  // The message as it is sent. False: there is no place for the topic.
  bool publish(const std::string& name, const weir::SharedBytes& message);

 private:
  struct Topic;
  // In order, not by hash: clients choose the names, and could choose many with one hash.
  using Table = std::map<std::string, Topic>;
  struct Topic {
    explicit Topic(weir::SlowPolicy slow) : subscribers(slow) {}
    weir::Broadcast subscribers;
    std::size_t count = 0;                     // of subscribers
    weir::SharedBytes last;                    // empty: nothing was published yet
    std::list<Table::pointer>::iterator idle;  // in idle_, if count is 0
  };

  Table::pointer find_or_make(const std::string& name);

  const std::size_t most_;
  const weir::SlowPolicy slow_;
  std::mutex mutex_;
  Table topics_;                    // pointers to its items stay valid
  std::list<Table::pointer> idle_;  // without subscribers, the longest silent one first
};
