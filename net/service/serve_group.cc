#include "weir/net/service/serve_group.h"

#include <utility>

#include "weir/net/service/run_until_signal.h"

namespace weir {

void ServeGroup::listen(
    const std::vector<std::string>& addresses,
    const std::function<Result<SocketAddress>(const SocketAddress&)>& listen_on) {
  if (failed_ != 0) return;
  const auto parsed = parse_addresses(addresses);  // all, before it listens on the first
  if (!parsed) {
    failed_ = 2;
    return;
  }
  for (const SocketAddress& address : *parsed) {
    const auto bound = listen_on(address);
    if (!bound) {
      failed_ = fail(bound.error());
      return;
    }
    bound_.push_back(*bound);
  }
}

void ServeGroup::add_bound(const std::vector<SocketAddress>& bound,
                           std::move_only_function<void(Done)> end) {
  bound_.insert(bound_.end(), bound.begin(), bound.end());
  ends_.push_back(std::make_shared<End>(std::move(end)));
}

void ServeGroup::end_all() {
  if (on_stop_) ending_([this] { on_stop_(); });
  running_ = ends_.size();
  if (running_ == 0) loop_.stop();
  for (const auto& end : ends_) {
    const bool begun = ending_([&] {
      end->begin([this, &loop = loop_, weak = std::weak_ptr(end)] {
        loop.dispatch([this, weak] {
          if (const auto ended = weak.lock()) is_over(*ended);
        });
      });
    });
    if (!begun) is_over(*end);
  }
}

// Counts each server once: the end of a server that threw may be reported all the same.
void ServeGroup::is_over(End& end) {
  if (!std::exchange(end.over, true) && --running_ == 0) loop_.stop();
}

int ServeGroup::run() {
  if (failed_ != 0) return failed_;
  run_until_signal(loop_, bound_, [this] { end_all(); });
  ending_.rethrow_first();
  return 0;
}

}  // namespace weir
