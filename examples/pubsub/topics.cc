#include "pubsub/topics.h"

#include <iterator>

bool Topics::subscribe(const std::string& name, weir::TcpConnection& conn,
                       std::string_view answer) {
  const std::lock_guard lock(mutex_);
  const Table::pointer entry = find_or_make(name);
  if (entry == nullptr) return false;
  Topic& topic = entry->second;
  if (topic.count++ == 0) idle_.erase(topic.idle);
  topic.subscribers.join(conn);
  conn.send(answer);
  conn.send(topic.last);
  return true;
}

void Topics::unsubscribe(const std::string& name, weir::TcpConnection& conn) {
  const std::lock_guard lock(mutex_);
  const auto found = topics_.find(name);
  Topic& topic = found->second;
  topic.subscribers.leave(conn);
  if (--topic.count > 0) return;
  if (topic.last.empty()) {
    topics_.erase(found);
  } else {
    topic.idle = idle_.insert(idle_.end(), &*found);
  }
}

bool Topics::publish(const std::string& name, const weir::SharedBytes& message) {
  const std::lock_guard lock(mutex_);
  const Table::pointer entry = find_or_make(name);
  if (entry == nullptr) return false;
  Topic& topic = entry->second;
  if (topic.count == 0) idle_.splice(idle_.end(), idle_, topic.idle);
  topic.last = message;
  topic.subscribers.send(message);
  return true;
}

// Null: the limit of topics is reached. A new topic is idle. [mutex_]
Topics::Table::pointer Topics::find_or_make(const std::string& name) {
  const auto found = topics_.find(name);
  if (found != topics_.end()) return &*found;
  if (topics_.size() >= most_) {
    if (idle_.empty()) return nullptr;
    const std::string unused = idle_.front()->first;
    idle_.pop_front();
    topics_.erase(unused);
  }
  const auto made = topics_.try_emplace(name, slow_).first;
  made->second.idle = idle_.insert(idle_.end(), &*made);
  return &*made;
}
