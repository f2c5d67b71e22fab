#include "weir/base/result.h"

#include <array>
#include <cerrno>
#include <cstdio>
#include <cstring>

namespace weir {
namespace {

#if defined(__GLIBC__) && __GLIBC_PREREQ(2, 32)

const char* name_of(int code) { return ::strerrorname_np(code); }
std::string describe(int code) {
  const char* text = ::strerrordesc_np(code);
  return text != nullptr ? text : "Unknown error " + std::to_string(code);
}

#else

const char* name_of(int) { return nullptr; }
// strerror_r(3) comes in two forms: one returns the text, one an error number.
[[maybe_unused]] const char* text_of(const char* returned, const char*) { return returned; }
[[maybe_unused]] const char* text_of(int, const char* buffer) { return buffer; }
std::string describe(int code) {
  std::array<char, 128> buffer{};
  return text_of(::strerror_r(code, buffer.data(), buffer.size()), buffer.data());
}

#endif

}  // namespace

Errno Errno::last() { return Errno(errno); }

std::string Errno::name() const {
  const char* name = name_of(value_);
  return name != nullptr ? name : "E" + std::to_string(value_);
}

std::string Errno::message() const { return describe(value_); }

Error::Error(std::string what, Errno code)
    : message_(std::move(what) + ": " + code.message()), code_(code) {}

Error::Error(std::string message) : message_(std::move(message)), code_(EINVAL) {}

Error Error::within(std::string_view what) const {
  Error outer(std::string(what) + ": " + message_);
  outer.code_ = code_;
  return outer;
}

int fail(const Error& error) {
  std::fprintf(stderr, "error: %s\n", error.message().c_str());
  return 1;
}

}  // namespace weir
