// bench-asio: standalone Asio with handlers, as in its tutorials and examples (the asynchronous TCP
// echo server; the chat server for broadcasts): the pending operations of a session keep it alive,
// and it reads again when its answer is written.
#include <asio.hpp>
#include <chrono>
#include <csignal>
#include <cstring>
#include <deque>
#include <memory>
#include <string>
#include <unordered_set>
#include <utility>

#include "rivals/settings.h"

namespace {

using asio::ip::tcp;
using Message = std::shared_ptr<const std::string>;

class Session;
using Room = std::unordered_set<Session*>;

class Session : public std::enable_shared_from_this<Session> {
 public:
  Session(tcp::socket socket, const rival::Settings& settings, Room& room)
      : socket_(std::move(socket)),
        settings_(settings),
        room_(room),
        data_(std::make_unique_for_overwrite<char[]>(rival::kBlock)) {
    room_.insert(this);
  }
  ~Session() { room_.erase(this); }
  Session(const Session&) = delete;
  Session& operator=(const Session&) = delete;

  void read() {
    socket_.async_read_some(asio::buffer(data_.get() + filled_, rival::kBlock - filled_),
                            [self = shared_from_this()](std::error_code error, std::size_t n) {
                              if (error) return;
                              self->filled_ += n;
                              self->answer();
                            });
  }

 private:
  // Writes one message after the other, then reads again.
  void answer() {
    const bool echo = settings_.work == rival::Work::echo;
    while (settings_.work == rival::Work::broadcast && filled_ - begin_ >= settings_.size) {
      const auto message =
          std::make_shared<const std::string>(data_.get() + begin_, settings_.size);
      for (Session* receiver : room_) receiver->deliver(message);
      begin_ += settings_.size;
    }
    const std::size_t left = filled_ - begin_;
    if (left == 0 || (!echo && left < settings_.size)) {
      if (begin_ > 0 && left > 0) std::memmove(data_.get(), data_.get() + begin_, left);
      filled_ = left;
      begin_ = 0;
      read();
      return;
    }
    asio::async_write(socket_, asio::buffer(data_.get() + begin_, echo ? left : settings_.size),
                      [self = shared_from_this()](std::error_code error, std::size_t n) {
                        if (error) return;
                        self->begin_ += n;
                        self->answer();
                      });
  }

  void deliver(const Message& message) {
    if (!socket_.is_open()) return;
    waiting_ += message->size();
    if (waiting_ > rival::kMostWaiting) {
      std::error_code ignored;
      socket_.close(ignored);
      return;
    }
    queue_.push_back(message);
    if (queue_.size() == 1) write_front();
  }

  void write_front() {
    asio::async_write(socket_, asio::buffer(*queue_.front()),
                      [self = shared_from_this()](std::error_code error, std::size_t n) {
                        if (error) return;
                        self->waiting_ -= n;
                        self->queue_.pop_front();
                        if (!self->queue_.empty()) self->write_front();
                      });
  }

  tcp::socket socket_;
  const rival::Settings& settings_;
  Room& room_;
  const std::unique_ptr<char[]> data_;
  std::size_t begin_ = 0;  // of the bytes that are not answered
  std::size_t filled_ = 0;
  std::deque<Message> queue_;  // for broadcasts
  std::size_t waiting_ = 0;    // bytes of it
};

class Server {
 public:
  Server(asio::io_context& context, const rival::Settings& settings, Room& room)
      : settings_(settings), room_(room), acceptor_(context), back_off_(context) {
    const tcp::endpoint endpoint(asio::ip::address_v4(ntohl(settings.listen.sin_addr.s_addr)),
                                 ntohs(settings.listen.sin_port));
    acceptor_.open(endpoint.protocol());
    acceptor_.set_option(tcp::acceptor::reuse_address(true));
    acceptor_.set_option(tcp::no_delay(true));
    acceptor_.bind(endpoint);
    acceptor_.listen(rival::kBacklog);
    rival::announce(acceptor_.native_handle());
    accept();
  }

 private:
  void accept() {
    acceptor_.async_accept([this](std::error_code error, tcp::socket socket) {
      if (!error) {
        std::make_shared<Session>(std::move(socket), settings_, room_)->read();
      } else if (error != asio::error::connection_aborted) {
        back_off_.expires_after(std::chrono::milliseconds(rival::kBackOffMs));
        back_off_.async_wait([this](std::error_code) { accept(); });
        return;
      }
      accept();
    });
  }

  const rival::Settings& settings_;
  Room& room_;
  tcp::acceptor acceptor_;
  asio::steady_timer back_off_;
};

int serve(const rival::Settings& settings) {
  try {
    Room room;                    // outlives the sessions, which the context destroys
    asio::io_context context(1);  // a hint: one thread runs it
    asio::signal_set signals(context, SIGTERM, SIGINT);
    signals.async_wait([&](std::error_code, int) { context.stop(); });
    Server server(context, settings, room);
    context.run();
    return 0;
  } catch (const std::system_error& error) {
    rival::give_up("asio", error.code().value());
  }
}

}  // namespace

int main(int argc, char** argv) { return rival::run(argc, argv, "asio", serve); }
