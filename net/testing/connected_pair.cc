#include "weir/net/testing/connected_pair.h"

#include <cstdint>
#include <utility>

#include "weir/base/check.h"
#include "weir/net/sys/sys.h"
#include "weir/net/testing/run_until.h"

namespace weir::testing {

namespace sys = internal::sys;

// A server that does not listen and has one connection. Its own handler gets on_open, and then
// installs the handler of the test.
class ConnectedPair::Side final : public ConnectionHandler {
 public:
  Side(EventLoop& loop, std::shared_ptr<ConnectionHandler> handler,
       const TcpServer::Options& options)
      : handler_(std::move(handler)), server_(loop, options) {
    // Not owned: server_ is destroyed before this handler.
    server_.use_handler(std::shared_ptr<ConnectionHandler>(this, [](ConnectionHandler*) {}));
  }
  void take(Fd end) {
    if (auto taken = server_.adopt(std::move(end)); !taken) {
      throw SystemError(std::move(taken).error());
    }
  }
  bool opened() const { return opened_; }
  TcpConnection* connection() const { return ref_.get(); }

  std::uint64_t longest_message() const override { return handler_->longest_message(); }

 private:
  void on_open(TcpConnection& connection) override {
    opened_ = true;
    ref_ = connection.ref();
    connection.set_handler(*handler_);
    handler_->on_open(connection);
  }

  bool opened_ = false;
  ConnectionRef ref_;
  const std::shared_ptr<ConnectionHandler> handler_;
  TcpServer server_;
};

ConnectedPair::ConnectedPair(EventLoop& loop, std::shared_ptr<ConnectionHandler> first,
                             std::shared_ptr<ConnectionHandler> second, TcpServer::Options options)
    : first_(std::make_unique<Side>(loop, std::move(first), options)),
      second_(std::make_unique<Side>(loop, std::move(second), options)) {
  WEIR_CHECK(options.threads == 0 && options.pool == nullptr,
             "ConnectedPair lives on one loop: no threads, no pool");
  auto ends = sys::socket_pair();
  if (!ends) throw SystemError(Error("make a pair of sockets: socketpair", ends.error()));
  first_->take(std::move(ends->first));
  second_->take(std::move(ends->second));
  const bool opened = run_until(loop, [this] { return first_->opened() && second_->opened(); });
  WEIR_CHECK(opened, "ConnectedPair: the loop did not open the connections");
}

ConnectedPair::~ConnectedPair() = default;

TcpConnection* ConnectedPair::first() const { return first_->connection(); }
TcpConnection* ConnectedPair::second() const { return second_->connection(); }

}  // namespace weir::testing
