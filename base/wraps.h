// WEIR_WRAPS marks a function whose unsigned arithmetic wraps around on purpose, such as the
// difference of two counters that begin anew. Clang's -fsanitize=integer does not check it, and
// checks all others.
#pragma once

#include "weir/base/requirements.h"

#if defined(__clang__)
#define WEIR_WRAPS __attribute__((no_sanitize("integer")))
#else
#define WEIR_WRAPS
#endif
