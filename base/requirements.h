// Checks that the compiler and the C++ library are recent enough for weir. Every public header
// includes this file first, directly or through another header of weir, so that an old compiler
// reports one clear error instead of hundreds.
#pragma once

#include <version>

// GCC 12 calls its C++23 202100. libstdc++ hides std::expected from Clang 18 (__cpp_concepts).
#if __cplusplus <= 202002L
#error "weir is C++23: compile with -std=c++23 (GCC 12 or later, Clang 19 or later)"
#include <weir needs -std=c++23>  // ends the compilation here
#elif !defined(__cpp_lib_expected) || !defined(__cpp_lib_move_only_function)
#error "weir needs std::expected and std::move_only_function: GCC 12, Clang 19, or later"
#include <weir needs a newer compiler or C++ library>  // ends the compilation here
#endif
