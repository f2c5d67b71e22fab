// Looks once at what is selected.
#pragma once

#include "sockstat/model.h"
#include "sockstat/sock_diag.h"
#include "weir/base/result.h"

namespace weir::sockstat {

Result<Look> look(SocketSource& kernel, const Selection& selection);

}  // namespace weir::sockstat
