#include "weir/net/reactor/shards.h"

namespace weir::internal {

ShardsBase::ShardsBase(EventLoop& home, const ShardOptions& options)
    : options_(options), home_(home) {
  WEIR_CHECK(options.pool == nullptr || options.threads == 0,
             "{} with both a pool and threads of its own", options.server);
}

bool ShardsBase::pooled() const {
  return options_.threads > 0 || (options_.pool != nullptr && options_.pool->size() > 0);
}

// --- loops ---------------------------------------------------------------------------------------

Result<std::vector<EventLoop*>> ShardsBase::open_loops() {
  if (!pooled()) return std::vector{&home_};
  if (options_.threads > 0) {
    auto pool = LoopPool::create(options_.threads, options_.loop);
    if (!pool) return std::unexpected(std::move(pool.error()));
    own_pool_ = std::move(*pool);
  }
  pool_ = own_pool_ ? own_pool_.get() : options_.pool;
  std::vector<EventLoop*> loops;
  loops.reserve(pool_->size());
  for (std::size_t i = 0; i < pool_->size(); ++i) loops.push_back(&pool_->loop(i));
  return loops;
}

void ShardsBase::close_loops() {
  pool_ = nullptr;
  own_pool_.reset();
}

// --- calls on the home loop ----------------------------------------------------------------------

void ShardsBase::add_done(Call done) {
  if (done) done_.push_back(std::move(done));
}

void ShardsBase::call_done() {
  if (done_.empty()) return;
  if (done_.size() > 1) post_home([this] { call_done(); });
  Call done = std::move(done_.front());
  done_.erase(done_.begin());
  done();
}

void ShardsBase::stop_calls() {
  calls_->stopped = true;
  done_.clear();
}

ShardsBase::Round::Round(ShardsBase& shards, std::size_t parts, Call done)
    : home_(shards.home_), calls_(shards.calls_), open_(parts), done_(std::move(done)) {}

void ShardsBase::Round::part_over() {
  if (open_.fetch_sub(1) > 1) return;
  try {
    all_over();
  } catch (...) {
    open_.store(1);
    throw;
  }
}

void ShardsBase::Round::all_over() {
  if (!done_) return;
  home_.post([round = shared_from_this()] {
    if (!round->calls_->stopped) round->done_();
  });
}

}  // namespace weir::internal
