#include "stage.h"

#include <algorithm>
#include <cerrno>
#include <new>

namespace weir::test::matrix {

void Stage::inject(const Site& site, const Fault& fault, std::uint64_t nth, bool persistent) {
  if (fault.kind == Fault::Kind::no_memory) {
    allocations_.emplace(nth, persistent ? fault.most : 1);
  } else {
    table_.inject(site, fault, nth, persistent);
  }
}

void Stage::end_fault() {
  failed_allocations_ = hits();
  allocations_.reset();
  table_.end_faults();
}

std::uint64_t Stage::hits() const {
  return table_.hits() + (allocations_ ? allocations_->failures() : failed_allocations_);
}

void Stage::turn(EventLoop& loop) {
  if (++turns_ > kMostTurns) {
    violation("spins: " + std::to_string(kMostTurns) + " turns");
    throw GiveUp();
  }
  try {
    static_cast<void>(loop.turn(std::chrono::hours(1)));
  } catch (const SystemError& error) {
    loop_threw_ = true;
    report("the loop", error.error());
  } catch (const std::bad_alloc&) {
    loop_threw_ = true;
    report("the loop", Errno(ENOMEM));
  }
}

void Stage::until(EventLoop& loop, std::string_view what, const std::function<bool()>& done) {
  const Duration end = table_.elapsed() + kMostTime;
  while (!done()) {
    if (table_.elapsed() > end) {
      violation("hangs: " + std::string(what));
      throw GiveUp();
    }
    turn(loop);
  }
}

void Stage::turns(EventLoop& loop, int count) {
  for (int i = 0; i < count; ++i) {
    loop.post([] {});
    turn(loop);
  }
}

void Stage::report(std::string_view where, Errno error) {
  const SpareAllocations of_the_test;
  reports_.push_back({.where = std::string(where), .error = error});
}

void Stage::violation(std::string text) {
  const SpareAllocations of_the_test;
  violations_.push_back(std::move(text));
}

void Stage::opened(const void* handler, std::uint64_t connection) {
  if (!open_.emplace(handler, connection).second) violation("on_open twice");
}
void Stage::closed(const void* handler, std::uint64_t connection) {
  if (open_.erase({handler, connection}) == 0) violation("on_close twice, or without on_open");
}
bool Stage::is_open(const void* handler, std::uint64_t connection) const {
  return open_.contains({handler, connection});
}

void Watch::on_open(TcpConnection& c) {
  {
    const SpareAllocations of_the_test;
    ++opens;
    received.clear();
    ref = c.ref();
    stage_.opened(this, c.id());
  }
  if (open) open(c);
}

void Watch::on_data(TcpConnection& c, Buffer& in) {
  {
    const SpareAllocations of_the_test;
    expect_open(c, "on_data");
    if (!data) {
      received += in.take();
      if (!expected_.starts_with(received)) stage_.violation(name_ + " received wrong bytes");
    }
  }
  if (data) data(c, in);
}

void Watch::on_half_close(TcpConnection& c) {
  expect_open(c, "on_half_close");
  ++half_closes;
  if (half_close) half_close(c);
}

void Watch::on_drained(TcpConnection& c) {
  expect_open(c, "on_drained");
  if (drained) drained(c);
}

void Watch::on_close(TcpConnection& c, CloseReason reason) {
  {
    const SpareAllocations of_the_test;
    stage_.closed(this, c.id());
    ++closes;
    using Kind = CloseReason::Kind;
    const bool in_order = reason.kind == Kind::peer_eof || reason.kind == Kind::local_close ||
                          reason.kind == Kind::server_stopped || reason.kind == usual_;
    if (!in_order) stage_.report(name_ + ": " + reason.to_string(), reason.error);
  }
  if (close) close(c);
}

void Watch::expect_open(const TcpConnection& c, std::string_view event) {
  if (!stage_.is_open(this, c.id())) {
    stage_.violation(name_ + ": " + std::string(event) + " outside the connection's life");
  }
}

std::string bytes(std::size_t size, std::size_t from) {
  const SpareAllocations of_the_test;
  std::string result(size, '\0');
  for (std::size_t i = 0; i < size; ++i) {
    const std::size_t at = from + i;
    result[i] = static_cast<char>((at * 2654435761U >> 13) ^ at);
  }
  return result;
}

}  // namespace weir::test::matrix
