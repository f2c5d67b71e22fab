// bench-libevent_bufferevent: a bufferevent for each connection, as in the libevent book
// ("Bufferevents: concepts and basics"): bytes move from its input to its output; libevent reads
// and writes. A slow peer is not read while much output is queued for it, which bounds the queue.
#include <event2/buffer.h>
#include <event2/bufferevent.h>

#include <utility>
#include <vector>

#include "rivals/libevent.h"
#include "rivals/settings.h"

namespace {

class Server;

struct Peer {
  Server& server;
  bufferevent* stream;
  std::size_t index;  // in Server::all
};

class Server {
 public:
  explicit Server(const rival::Settings& settings) : settings_(settings), message_(settings.size) {}

  void adopt(event_base* base, evutil_socket_t fd) {
    bufferevent* const stream = bufferevent_socket_new(base, fd, BEV_OPT_CLOSE_ON_FREE);
    if (stream == nullptr) rival::give_up("bufferevent_socket_new", 0);
    auto* const peer = new Peer{.server = *this, .stream = stream, .index = all_.size()};
    all_.push_back(peer);
    bufferevent_setcb(stream, &on_read, nullptr, &on_event, peer);
    bufferevent_enable(stream, EV_READ | EV_WRITE);
  }

 private:
  static std::size_t waiting(const Peer& peer) {
    return evbuffer_get_length(bufferevent_get_output(peer.stream));
  }

  static void on_read(bufferevent* stream, void* context) {
    auto& peer = *static_cast<Peer*>(context);
    peer.server.answer(peer, bufferevent_get_input(stream));
    peer.server.free_slow_ones();
  }

  void answer(Peer& peer, evbuffer* in) {
    if (settings_.work == rival::Work::echo) {
      evbuffer_add_buffer(bufferevent_get_output(peer.stream), in);  // moves, does not copy
    }
    while (settings_.work != rival::Work::echo && evbuffer_get_length(in) >= message_.size()) {
      evbuffer_remove(in, message_.data(), message_.size());
      if (settings_.work == rival::Work::each) {
        bufferevent_write(peer.stream, message_.data(), message_.size());
      } else {
        broadcast();
      }
    }
    if (waiting(peer) > rival::kPauseAt) {
      bufferevent_disable(peer.stream, EV_READ);
      bufferevent_setwatermark(peer.stream, EV_WRITE, rival::kPauseAt / 2, 0);
      bufferevent_setcb(peer.stream, &on_read, &on_drained, &on_event, &peer);
    }
  }

  void broadcast() {
    for (Peer* receiver : all_) {
      bufferevent_write(receiver->stream, message_.data(), message_.size());
      if (waiting(*receiver) > rival::kMostWaiting) slow_ = true;
    }
  }

  // Must not be called during an iteration over all connections.
  void free_slow_ones() {
    if (!std::exchange(slow_, false)) return;
    for (std::size_t i = all_.size(); i-- > 0;) {
      if (waiting(*all_[i]) > rival::kMostWaiting) end(all_[i]);
    }
  }

  static void on_drained(bufferevent* stream, void* context) {
    bufferevent_setwatermark(stream, EV_WRITE, 0, 0);
    bufferevent_setcb(stream, &on_read, nullptr, &on_event, context);
    bufferevent_enable(stream, EV_READ);
  }

  // The peer has closed or failed. If it has closed, queued output is sent first.
  static void on_event(bufferevent* stream, short what, void* context) {
    auto* const peer = static_cast<Peer*>(context);
    if ((what & BEV_EVENT_ERROR) != 0 || waiting(*peer) == 0) {
      end(peer);
      return;
    }
    bufferevent_setwatermark(stream, EV_WRITE, 0, 0);
    bufferevent_setcb(stream, nullptr, &on_last_byte, &on_event, peer);
  }

  static void on_last_byte(bufferevent*, void* context) { end(static_cast<Peer*>(context)); }

  static void end(Peer* peer) {
    auto& all = peer->server.all_;
    all.back()->index = peer->index;
    all[peer->index] = all.back();
    all.pop_back();
    bufferevent_free(peer->stream);
    delete peer;
  }

  const rival::Settings settings_;
  std::vector<char> message_;
  std::vector<Peer*> all_;
  bool slow_ = false;  // too much is queued for some receiver
};

int serve(const rival::Settings& settings) {
  Server server(settings);
  event_base* base = nullptr;
  rival::Libevent libevent(settings, [&](evutil_socket_t fd) { server.adopt(base, fd); });
  base = libevent.base();
  libevent.run();
  return 0;
}

}  // namespace

int main(int argc, char** argv) { return rival::run(argc, argv, "libevent_bufferevent", serve); }
