#include "weir/base/keyed_hash.h"

#include <sys/auxv.h>
#include <sys/random.h>
#include <sys/types.h>

namespace weir {
namespace {

using internal::HashKey;

HashKey draw() {
  HashKey key;
  // Early at boot the kernel may have no random bits yet; this does not wait for them.
  const ssize_t got = ::getrandom(&key, sizeof(key), GRND_NONBLOCK);
  if (got == static_cast<ssize_t>(sizeof(key))) return key;
  // NOLINTNEXTLINE(performance-no-int-to-ptr): the kernel gives the address as a number
  std::memcpy(&key, reinterpret_cast<const void*>(::getauxval(AT_RANDOM)), sizeof(key));
  return key;
}

}  // namespace

const HashKey& internal::hash_key() {
  static const HashKey key = draw();
  return key;
}

std::uint64_t keyed_hash(std::span<const std::byte> bytes) {
  return internal::sip_hash<1, 3>(internal::hash_key(), bytes);
}

}  // namespace weir
