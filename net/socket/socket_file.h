// SocketFile: the file that a socket bound to a Unix path stands in: probed, made, owned, removed.
// Internal to net; ListeningSocket and the datagram sockets have one.
//
// The folder may belong to another user, who can put anything in the file's place at any time. So
// the folder's path is resolved once, and everything is done to the file in that folder that was
// made: permissions through a descriptor of it, removal after a look at its inode. The system call
// bind(2) alone takes the path. The open folder also keeps a relative path valid after chdir(2).
// May be moved to another thread, and used by one at a time.
#pragma once

#include <sys/types.h>

#include <atomic>
#include <cstdint>
#include <memory>
#include <string>
#include <utility>

#include "weir/base/export.h"
#include "weir/base/fd.h"
#include "weir/base/result.h"
#include "weir/net/socket/socket.h"
#include "weir/net/socket/socket_address.h"

namespace WEIR_EXPORT weir {

// A file by its numbers; inode 0: none.
struct FileId {
  dev_t device = 0;
  ino_t inode = 0;
  friend bool operator==(const FileId&, const FileId&) = default;
};

}  // namespace weir

namespace weir::internal {

class SocketFile {
 public:
  // What the socket is for. Before a listener or a receiver is bound, a socket that nobody owns any
  // more is removed from the path (found out by connecting to it). Of a client's file nobody can
  // tell whether its owner still lives, so that is left alone.
  enum class Use : std::uint8_t { listener, receiver, client };

  SocketFile() = default;  // none
  SocketFile(SocketFile&& other) noexcept { *this = std::move(other); }
  SocketFile& operator=(SocketFile&& other) noexcept;
  ~SocketFile() { remove(); }

  // Binds `socket` to `address`, a Unix path. The file has the permissions `mode` and at no time
  // wider ones. An error begins with `doing`, such as "listen on unix:/run/x", and the step.
  static Result<SocketFile> bind(Socket& socket, const SocketAddress& address, mode_t mode, Use use,
                                 const std::string& doing);
  // A file that another process has made at this path: removed in the end if `ours` says so then.
  static SysResult<SocketFile> own(const SocketAddress& address, const FileId& id,
                                   std::shared_ptr<std::atomic<bool>> ours);

  const FileId& id() const { return id_; }  // inode 0: none
  // The path still leads to this file.
  static bool stands(const SocketAddress& address, const FileId& id);
  // It is another process's now, and stays. [any]
  void leave();
  // Removes it, if it is still there, ours, and this is no child of the process that made it. To be
  // called while the socket is open: that keeps the inode's number from standing for another file.
  void remove();

 private:
  Fd folder_;
  std::string name_;  // within it
  FileId id_;
  std::shared_ptr<std::atomic<bool>> ours_;
  std::uint32_t process_ = 0;  // that the file belongs to, by generation
};

}  // namespace weir::internal
