// Takes one look at the selected sockets.
#pragma once

#include "sockstat/model.h"
#include "sockstat/sock_diag.h"
#include "weir/base/result.h"

namespace weir::sockstat {

Result<Look> look(SocketSource& kernel, const Selection& selection);

}  // namespace weir::sockstat
