// Errors as values. A system call returns SysResult<T>; a set-up call returns Result<T>, whose
// Error names the operation, its object and the reason of the failure.
#pragma once

#include "weir/base/requirements.h"

#include <cerrno>
#include <compare>
#include <expected>
#include <stdexcept>
#include <string>
#include <string_view>
#include <utility>

#include "weir/base/export.h"

namespace WEIR_EXPORT weir {

// An errno value (errno(3)); 0 means "no error".
class Errno {
 public:
  constexpr Errno() = default;
  constexpr explicit Errno(int value) : value_(value) {}
  // The calling thread's errno.
  static Errno last();

  constexpr int value() const { return value_; }
  constexpr explicit operator bool() const { return value_ != 0; }
  // The kernel has no memory for the call now (ENOMEM, ENOBUFS). Retry after a pause: epoll does
  // not report when memory becomes available.
  constexpr bool is_memory() const { return value_ == ENOMEM || value_ == ENOBUFS; }
  // "ECONNREFUSED"; "E4711" for a number that the C library has no name for.
  std::string name() const;
  // "Connection refused".
  std::string message() const;

  friend constexpr bool operator==(Errno, Errno) = default;
  friend constexpr bool operator==(Errno a, int b) { return a.value_ == b; }

 private:
  int value_ = 0;
};

template <typename T>
using SysResult = std::expected<T, Errno>;

// The reason why a set-up call failed, as a sentence for people: "listen on 0.0.0.0:80: bind:
// Permission denied".
class Error {
 public:
  // For a failed system call: message() is "<what>: <message of code>".
  Error(std::string what, Errno code);
  // For an error without an errno value; code() is EINVAL.
  explicit Error(std::string message);

  Errno code() const { return code_; }
  const std::string& message() const { return message_; }
  // The same error with more context in front: "<what>: <message>".
  Error within(std::string_view what) const;

 private:
  std::string message_;
  Errno code_;
};

template <typename T>
using Result = std::expected<T, Error>;

// Thrown by a constructor when the kernel refuses a resource. (EventLoop::create() returns the
// Error instead.)
class SystemError : public std::runtime_error {
 public:
  explicit SystemError(Error error)
      : std::runtime_error(error.message()), error_(std::move(error)) {}
  const Error& error() const { return error_; }

 private:
  Error error_;
};

// Prints "error: <message>" to stderr and returns 1: `return weir::fail(result.error());` in
// main().
int fail(const Error& error);

}  // namespace weir
