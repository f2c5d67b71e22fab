#include "weir/net/sim/internal/kernel.h"

#include <fcntl.h>
#include <fmt/format.h>

#include <algorithm>
#include <cstring>
#include <string>
#include <utility>

#include "weir/base/check.h"

namespace weir::internal::sim {

namespace {

// The machine that a program sees: 1 GiB of memory.
constexpr long kPages = 262144;
constexpr long kPageSize = 4096;
// CLOCK_REALTIME is this much ahead: 2020-01-01.
constexpr Duration kEpoch = std::chrono::seconds(1577836800);
// Waits in a row that reported events nobody did anything about. Events for descriptors that were
// closed in the same batch are a few in a row.
constexpr std::uint64_t kMostIdleWaits = 1000;
// Turns in a row without a system call that succeeded, and without sleeping, such as those of a
// task that posts itself. A program that divides its work into tasks needs fewer.
constexpr std::uint64_t kMostIdleTurns = 1'000'000;

}  // namespace

Kernel::~Kernel() {
  machine_.wire.cut();
  machine_.orphans.clear();
}

// -- Calls ----------------------------------------------------------------------------------------

std::shared_ptr<Object> Kernel::find(int fd) const {
  if (fd < kFirstDescriptor) return nullptr;
  const auto index = static_cast<std::size_t>(fd - kFirstDescriptor);
  return index < descriptors_.size() ? descriptors_[index] : nullptr;
}

int Kernel::install(std::shared_ptr<Object> object) {
  if (open_ >= machine_.faults.max_descriptors) return -EMFILE;
  auto place = std::ranges::find(descriptors_, nullptr);
  if (place == descriptors_.end()) place = descriptors_.insert(place, nullptr);
  object->retain();
  *place = std::move(object);
  ++open_;
  return kFirstDescriptor + static_cast<int>(place - descriptors_.begin());
}

void Kernel::begin_call() {
  machine_.wire.advance_to(saturating_add(machine_.wire.now(), machine_.faults.call_time));
}

void Kernel::record(std::string_view name, int fd, std::int64_t result) {
  ++calls_;
  const auto mix = [this](std::uint64_t value) { digest_ = (digest_ ^ value) * 1099511628211U; };
  mix(name.size() * 256 + static_cast<unsigned char>(name.back()));
  mix(static_cast<std::uint64_t>(fd));
  mix(static_cast<std::uint64_t>(result));
  mix(static_cast<std::uint64_t>(machine_.wire.now().time_since_epoch().count()));
  if (!print_) return;
  const auto time = std::chrono::duration<double>(machine_.wire.now().time_since_epoch()).count();
  const std::string text = result < 0
                               ? fmt::format("-1 {}", ::strerrorname_np(static_cast<int>(-result)))
                               : fmt::format("{}", result);
  print_(fmt::format("{:.6f} {}({}) = {}", time, name, fd, text));
}

// -- Descriptors ----------------------------------------------------------------------------------

int Kernel::open_file(std::string contents) {
  return install(std::make_shared<MemoryFile>(std::move(contents)));
}

// A descriptor of the real kernel, such as that of a loop that is older than the simulation, is
// closed there.
int Kernel::close(int fd) {
  if (fd < kFirstDescriptor) return SysTable::close(fd);
  begin_call();
  const auto object = find(fd);
  if (object == nullptr) return end_call("close", fd, -EBADF);
  descriptors_[static_cast<std::size_t>(fd - kFirstDescriptor)] = nullptr;
  --open_;
  if (object->release()) object->closed();
  return end_call("close", fd, 0);
}

int Kernel::fcntl(int fd, int command, int argument) {
  begin_call();
  const auto object = find(fd);
  int result = -EINVAL;
  if (object == nullptr) {
    result = -EBADF;
  } else if (command == F_DUPFD_CLOEXEC) {
    result = install(object);
  } else if (command == F_GETFD) {
    result = FD_CLOEXEC;
  } else if (command == F_GETFL) {
    result = O_NONBLOCK;
  } else if (command == F_SETFD || command == F_SETFL) {
    result = 0;
  } else if (auto* end = dynamic_cast<PipeEnd*>(object.get())) {
    if (command == F_SETPIPE_SZ) end->pipe().size = static_cast<std::size_t>(argument);
    result = static_cast<int>(end->pipe().size);
  }
  return end_call("fcntl", fd, result);
}

int Kernel::pipe2(int* ends, int /*flags*/) {
  begin_call();
  const auto bytes = std::make_shared<PipeBytes>();
  for (int i = 0; i < 2; ++i) {
    ends[i] = install(std::make_shared<PipeEnd>(bytes));
    if (ends[i] >= 0) continue;
    if (i == 1) close(ends[0]);
    return end_call("pipe2", -1, ends[i]);
  }
  return end_call("pipe2", ends[0], 0);
}

ssize_t Kernel::fill_pipe(Object& socket, PipeBytes& pipe, std::size_t size) {
  const std::size_t room = pipe.size - std::min(pipe.size, pipe.bytes.size());
  std::string bytes(std::min(size, room), '\0');
  if (bytes.empty()) return -EAGAIN;
  const iovec into{.iov_base = bytes.data(), .iov_len = bytes.size()};
  const ssize_t got = socket.receive(std::span(&into, 1), 0);
  if (got > 0) pipe.bytes.append(std::string_view(bytes).substr(0, static_cast<std::size_t>(got)));
  return got;
}

ssize_t Kernel::drain_pipe(PipeBytes& pipe, Object& socket, std::size_t size) {
  const auto bytes = pipe.bytes.view().substr(0, size);
  if (bytes.empty()) return -EAGAIN;
  // iovec has no const; send() does not write.
  const iovec from{.iov_base = const_cast<char*>(bytes.data()), .iov_len = bytes.size()};  // NOLINT
  const ssize_t sent = socket.send(std::span(&from, 1));
  if (sent > 0) pipe.bytes.consume(static_cast<std::size_t>(sent));
  return sent;
}

ssize_t Kernel::splice(int in, int out, std::size_t size, unsigned /*flags*/) {
  begin_call();
  const auto from = find(in);
  const auto to = find(out);
  if (from == nullptr || to == nullptr) return end_call("splice", in, ssize_t{-EBADF});
  auto* const reading = dynamic_cast<PipeEnd*>(from.get());
  auto* const writing = dynamic_cast<PipeEnd*>(to.get());
  ssize_t moved = -EINVAL;
  if (reading == nullptr && writing != nullptr) moved = fill_pipe(*from, writing->pipe(), size);
  if (reading != nullptr && writing == nullptr) moved = drain_pipe(reading->pipe(), *to, size);
  return end_call("splice", in, moved);
}

ssize_t Kernel::read(int fd, void* data, std::size_t size) {
  return on_object("read", fd, [&](Object& object) { return object.read(data, size); });
}

ssize_t Kernel::write(int fd, const void* data, std::size_t size) {
  return on_object("write", fd, [&](Object& object) { return object.write(data, size); });
}

ssize_t Kernel::pread(int fd, void* data, std::size_t size, off_t offset) {
  return on_object("pread", fd, [&](Object& object) -> ssize_t {
    auto* const file = dynamic_cast<MemoryFile*>(&object);
    if (file == nullptr) return -ESPIPE;
    const iovec into{.iov_base = data, .iov_len = size};
    const auto count = copy_to(std::span(&into, 1), file->from(static_cast<std::size_t>(offset)));
    return static_cast<ssize_t>(count);
  });
}

ssize_t Kernel::sendfile(int out, int in, off_t* offset, std::size_t count) {
  const auto file = std::dynamic_pointer_cast<MemoryFile>(find(in));
  return on_object("sendfile", out, [&](Object& object) -> ssize_t {
    if (file == nullptr) return -EINVAL;
    const auto bytes = file->from(static_cast<std::size_t>(*offset)).substr(0, count);
    if (bytes.empty()) return 0;
    // iovec has no const; send() does not write.
    const iovec from{.iov_base = const_cast<char*>(bytes.data()),  // NOLINT
                     .iov_len = bytes.size()};
    const ssize_t sent = object.send(std::span(&from, 1));
    if (sent > 0) *offset += sent;
    return sent;
  });
}

// Simulated programs have no files but /dev/null and open_file(). A program reads some files once
// in the life of the process, for example the limits of its memory. So that the second world of a
// process does the same as the first, calls with names take no time and are not recorded.
int Kernel::open(const char* path, int /*flags*/, mode_t /*mode*/) {
  if (std::string_view(path) != "/dev/null") return no_such_file();
  begin_call();
  return end_call("open", -1, install(std::make_shared<MemoryFile>(std::string())));
}

int Kernel::no_such_file() {
  errno = ENOENT;
  return -1;
}

int Kernel::fstat(int fd, struct stat* result) {
  return on_object("fstat", fd, [&](Object& object) {
    auto* const file = dynamic_cast<MemoryFile*>(&object);
    *result = {};
    result->st_mode = file != nullptr ? S_IFREG : S_IFSOCK;
    if (file != nullptr) result->st_size = static_cast<off_t>(file->size());
    return 0;
  });
}

int Kernel::openat(int /*folder*/, const char* /*name*/, int /*flags*/) { return no_such_file(); }
int Kernel::stat(const char* /*path*/, struct stat* /*result*/) { return no_such_file(); }
int Kernel::fstatat(int /*folder*/, const char* /*name*/, struct stat* /*result*/, int /*flags*/) {
  return no_such_file();
}
int Kernel::unlinkat(int /*folder*/, const char* /*name*/) { return no_such_file(); }
int Kernel::chmod(const char* /*path*/, mode_t /*mode*/) { return no_such_file(); }
int Kernel::fchmod(int fd, mode_t /*mode*/) {
  begin_call();
  return end_call("fchmod", fd, -EINVAL);
}

// -- Waiting --------------------------------------------------------------------------------------

int Kernel::epoll_create1(int /*flags*/) {
  begin_call();
  auto set = std::make_shared<EpollSet>(host_);
  sets_.push_back(set);
  return end_call("epoll_create1", -1, install(std::move(set)));
}

int Kernel::eventfd(unsigned initial, int /*flags*/) {
  begin_call();
  return end_call("eventfd", -1, install(std::make_shared<EventCounter>(initial)));
}

int Kernel::signalfd(int fd, const sigset_t* /*mask*/, int /*flags*/) {
  begin_call();
  return end_call("signalfd", fd, -ENOSYS);
}

int Kernel::epoll_ctl(int epoll, int operation, int fd, epoll_event* event) {
  begin_call();
  const auto set = std::dynamic_pointer_cast<EpollSet>(find(epoll));
  const auto object = find(fd);
  int result = 0;
  if (set == nullptr || object == nullptr) {
    result = -EBADF;
  } else if (operation != EPOLL_CTL_DEL && object->is_socket() &&
             machine_.random.chance(machine_.faults.watch_error)) {
    result = machine_.random.below(2) == 0 ? -ENOMEM : -ENOSPC;
  } else {
    result = set->control(operation, object, fd, event);
  }
  return end_call("epoll_ctl", fd, result);
}

bool Kernel::has_events(int host) {
  for (const auto& each : sets_) {
    const auto set = each.lock();
    if (set != nullptr && set->host() == host && set->poll() != 0) return true;
  }
  return false;
}

std::size_t Kernel::take_events(EpollSet& set, std::span<epoll_event> room) {
  Random& random = machine_.random;
  if (machine_.faults.shuffle_events) room = room.first(1 + random.below(room.size()));
  std::size_t count = set.collect(room);
  if (count > 0 && ++idle_waits_ >= kMostIdleWaits) spins_ = true;
  const auto events = room.first(count);
  if (machine_.faults.shuffle_events) {
    for (std::size_t i = count; i > 1; --i) std::swap(events[i - 1], events[random.below(i)]);
  }
  if (count == room.size() || !random.chance(machine_.faults.false_event)) return count;
  const Watch* const watch = set.watching_input(random.next());
  if (watch == nullptr || !watch->object.is_socket()) return count;
  room[count].events = EPOLLIN;
  room[count].data.u64 = watch->data;
  return count + 1;
}

void Kernel::advance_to(TimePoint time) {
  if (time > machine_.wire.now()) idle_turns_ = 0;
  machine_.wire.advance_to(time);
}

// Without a limit and without anything under way the program would wait for ever.
int Kernel::wait(EpollSet& set, std::span<epoll_event> room, std::optional<TimePoint> until) {
  if (++idle_turns_ >= kMostIdleTurns) spins_ = true;
  if (machine_.interrupts()) return -EINTR;
  for (;;) {
    const std::size_t count = take_events(set, room);
    if (count > 0) return static_cast<int>(count);
    const auto next = machine_.wire.next();
    WEIR_CHECK(next || until,
               "a simulated loop waits for ever: nothing is under way, and no timer is set");
    if (until && (!next || *next > *until)) {
      advance_to(*until);
      return 0;
    }
    advance_to(*next);
  }
}

int Kernel::epoll_pwait2(int epoll, epoll_event* events, int capacity, const timespec* timeout) {
  begin_call();
  const auto set = std::dynamic_pointer_cast<EpollSet>(find(epoll));
  std::optional<TimePoint> until;
  if (timeout != nullptr) {
    until = saturating_add(machine_.wire.now(), std::chrono::seconds(timeout->tv_sec));
    until = saturating_add(*until, Duration(timeout->tv_nsec));
  }
  const std::span room(events, static_cast<std::size_t>(capacity));
  const int result = set == nullptr ? -EBADF : wait(*set, room, until);
  record("epoll_pwait2", epoll, result);
  if (result >= 0) return result;
  errno = -result;
  return -1;
}

int Kernel::epoll_wait(int epoll, epoll_event* events, int capacity, int timeout_ms) {
  const timespec timeout{.tv_sec = timeout_ms / 1000, .tv_nsec = timeout_ms % 1000 * 1'000'000L};
  return epoll_pwait2(epoll, events, capacity, timeout_ms < 0 ? nullptr : &timeout);
}

// -- The process ----------------------------------------------------------------------------------

int Kernel::clock_gettime(clockid_t clock, timespec* time) {
  Duration now = machine_.wire.now().time_since_epoch();
  if (clock == CLOCK_REALTIME) now += kEpoch;
  constexpr std::int64_t kSecond = 1'000'000'000;
  time->tv_sec = static_cast<time_t>(now.count() / kSecond);
  time->tv_nsec = static_cast<long>(now.count() % kSecond);
  return 0;
}

int Kernel::getrlimit(int /*resource*/, rlimit* limit) {
  limit->rlim_cur = limit->rlim_max = machine_.faults.max_descriptors;
  return 0;
}

int Kernel::getrusage(int /*who*/, rusage* usage) {
  *usage = {};
  return 0;
}

long Kernel::sysconf(int name) { return name == _SC_PHYS_PAGES ? kPages : kPageSize; }

ssize_t Kernel::getrandom(void* data, std::size_t size, unsigned /*flags*/) {
  auto* bytes = static_cast<unsigned char*>(data);
  for (std::size_t i = 0; i < size; ++i) {
    bytes[i] = static_cast<unsigned char>(machine_.random.next());
  }
  return static_cast<ssize_t>(size);
}

unsigned Kernel::if_nametoindex(const char* /*name*/) {
  errno = ENODEV;
  return 0;
}

char* Kernel::if_indextoname(unsigned /*index*/, char* /*name*/) {
  errno = ENXIO;
  return nullptr;
}

// All loops of a World run on the thread of the test.
int Kernel::pthread_create(pthread_t* /*thread*/, void* (* /*body*/)(void*), void* /*argument*/) {
  return EAGAIN;
}

}  // namespace weir::internal::sim
