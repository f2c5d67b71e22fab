// A library for LD_PRELOAD that counts the heap allocations of a program (new calls malloc). When
// the program ends, it writes the number to the file named by WEIR_COUNT_FILE.
#include <fcntl.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <cstdlib>

// The names of glibc's own functions, which the functions below replace.
extern "C" {
void* __libc_malloc(std::size_t size);
void* __libc_calloc(std::size_t count, std::size_t size);
void* __libc_realloc(void* memory, std::size_t size);
void* __libc_memalign(std::size_t alignment, std::size_t size);
}

namespace {

std::atomic<std::uint64_t> count{0};

void count_one() { count.fetch_add(1, std::memory_order_relaxed); }

[[gnu::destructor]] void write_count() {
  const std::uint64_t number = count.load(std::memory_order_relaxed);
  const char* const path = std::getenv("WEIR_COUNT_FILE");
  if (path == nullptr) return;
  const int fd = ::open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
  if (fd < 0) return;
  ::dprintf(fd, "%llu\n", static_cast<unsigned long long>(number));
  ::close(fd);
}

}  // namespace

extern "C" {

void* malloc(std::size_t size) {
  count_one();
  return __libc_malloc(size);
}

void* calloc(std::size_t number, std::size_t size) {
  count_one();
  return __libc_calloc(number, size);
}

void* realloc(void* memory, std::size_t size) {
  count_one();
  return __libc_realloc(memory, size);
}

void* memalign(std::size_t alignment, std::size_t size) {
  count_one();
  return __libc_memalign(alignment, size);
}

void* aligned_alloc(std::size_t alignment, std::size_t size) { return memalign(alignment, size); }

int posix_memalign(void** memory, std::size_t alignment, std::size_t size) {
  *memory = memalign(alignment, size);
  return *memory == nullptr ? ENOMEM : 0;
}

}  // extern "C"
