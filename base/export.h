// Export of symbols: the shared library exports namespace weir of the installed headers.
#pragma once

#include "weir/base/requirements.h"

// An installed header opens the namespace with `namespace WEIR_EXPORT weir {`. The libraries are
// compiled with hidden visibility, so nothing else is exported, in particular not namespace
// weir::internal.
#define WEIR_EXPORT [[gnu::visibility("default")]]
// For a class inside an exported class that only weir's sources define (`class WEIR_HIDDEN Impl;`).
#define WEIR_HIDDEN [[gnu::visibility("hidden")]]
