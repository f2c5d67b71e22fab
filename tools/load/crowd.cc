#include "load/crowd.h"

#include <algorithm>
#include <utility>

#include "load/broadcast_client.h"

namespace weir::load {

void CrowdPart::begin() {
  if (std::exchange(begun_, true)) return;
  find_slowest();
  crowd_.notify_sender(index_, everyone_has_);
}

void CrowdPart::changed(std::uint64_t before) {
  if (!begun_ || before > everyone_has_) return;
  if (--slowest_ > 0) return;
  find_slowest();
  crowd_.notify_sender(index_, everyone_has_);
  end_if_complete();
}

// Called once for each message, not for each delivery.
void CrowdPart::find_slowest() {
  everyone_has_ = kAll;
  for (const BroadcastReceiver* receiver : receivers_) {
    if (!receiver->joined()) continue;
    if (receiver->has() < everyone_has_) {
      everyone_has_ = receiver->has();
      slowest_ = 0;
    }
    if (receiver->has() == everyone_has_) ++slowest_;
  }
}

void CrowdPart::all_sent(std::uint64_t count) {
  last_ = count;
  begun_ = true;
  find_slowest();
  end_if_complete();
}

void CrowdPart::end_if_complete() {
  if (last_ == kAll || everyone_has_ < last_) return;
  for (BroadcastReceiver* receiver : receivers_) receiver->all_received();
}

Crowd::Crowd(LoopPool& pool) {
  for (std::size_t i = 0; i < pool.size(); ++i) {
    parts_.push_back(std::make_unique<CrowdPart>(*this, i, pool.loop(i)));
  }
}

void Crowd::notify_sender(std::size_t part, std::uint64_t everyone_has) {
  parts_[0]->loop().post(
      [sender = sender_, part, everyone_has] { sender->progress(part, everyone_has); });
}

void Crowd::notify_all_sent(std::uint64_t count) {
  for (const auto& part : parts_) {
    part->loop().post([p = part.get(), count] { p->all_sent(count); });
  }
}

}  // namespace weir::load
