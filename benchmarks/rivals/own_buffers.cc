#include "rivals/own_buffers.h"

namespace rival {

Crowd::~Crowd() {
  bury();
  for (OwnBuffers* connection : all) delete connection;
}

// From the back: when a connection is closed, the last one takes its place.
void Crowd::broadcast(std::string_view message) {
  for (std::size_t i = all.size(); i-- > 0;) {
    OwnBuffers& connection = *all[i];
    connection.send(message);
    connection.settle();
  }
}

void Crowd::bury() {
  for (OwnBuffers* connection : std::exchange(dead, {})) delete connection;
}

void OwnBuffers::wait(std::string_view bytes) {
  if (!waiting_) waiting_ = std::make_unique<Waiting>();
  waiting_->bytes.append(bytes);
  if (waiting_->bytes.size() - waiting_->begin > kMostWaiting) failed_ = true;
}

void OwnBuffers::flush() {
  const std::string_view left = std::string_view(waiting_->bytes).substr(waiting_->begin);
  const ssize_t n = ::send(fd_, left.data(), left.size(), MSG_NOSIGNAL);
  if (n < 0) {
    failed_ = !again();
    return;
  }
  waiting_->begin += static_cast<std::size_t>(n);
  if (waiting_->begin == waiting_->bytes.size()) {
    waiting_.reset();
  } else if (waiting_->begin > waiting_->bytes.size() / 2) {
    waiting_->bytes.erase(0, std::exchange(waiting_->begin, 0));
  }
}

void OwnBuffers::close() {
  watch(interest_ = Interest::none);
  ::close(std::exchange(fd_, -1));
  crowd_.all.back()->index_ = index_;
  crowd_.all[index_] = crowd_.all.back();
  crowd_.all.pop_back();
  crowd_.dead.push_back(this);
}

}  // namespace rival
