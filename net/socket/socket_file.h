// SocketFile: the file of a socket that is bound to a Unix path. It removes a stale file, creates
// the new one, owns it and removes it. Internal to net; used by ListeningSocket and the datagram
// sockets. [one thread at a time]
//
// The folder may belong to another user, who can replace the file at any time. Therefore the path
// of the folder is resolved once, and later calls act only on the file that was created: the
// permissions are set through a descriptor of the file, and it is removed only after its inode was
// compared. Only bind(2) uses the path. The open folder also keeps a relative path valid after
// chdir(2).
#pragma once

#include <sys/types.h>

#include <atomic>
#include <cstdint>
#include <memory>
#include <string>

#include "weir/base/export.h"
#include "weir/base/fd.h"
#include "weir/base/result.h"
#include "weir/net/socket/socket.h"
#include "weir/net/socket/socket_address.h"

namespace WEIR_EXPORT weir {

// Identifies a file; inode 0: none.
struct FileId {
  dev_t device = 0;
  ino_t inode = 0;
  friend bool operator==(const FileId&, const FileId&) = default;
};

}  // namespace weir

namespace weir::internal {

class SocketFile {
 public:
  // The purpose of the socket. Before a listener or a receiver is bound, bind() connects to the
  // existing socket file and removes it if it has no owner. For a client's file this cannot be
  // found out, so bind() does not remove it.
  enum class Use : std::uint8_t { listener, receiver, client };

  SocketFile() = default;  // none
  SocketFile(SocketFile&& other) noexcept;
  SocketFile& operator=(SocketFile&& other) noexcept;
  ~SocketFile();

  // Binds `socket` to `address`, a Unix path. The file has the permissions `mode`, and never wider
  // ones. An error begins with `doing`, such as "listen on unix:/run/x", and the step.
  static Result<SocketFile> bind(Socket& socket, const SocketAddress& address, mode_t mode, Use use,
                                 const std::string& doing);
  // For a file that another process created at this path: remove() removes it if `*ours` is true at
  // that time.
  static SysResult<SocketFile> own(const SocketAddress& address, const FileId& id,
                                   std::shared_ptr<std::atomic<bool>> ours);

  const FileId& id() const { return id_; }  // inode 0: none
  // The path still leads to this file.
  static bool stands(const SocketAddress& address, const FileId& id);
  // The file now belongs to another process: remove() leaves it. [any]
  void leave();
  // Removes the file, if it still exists and is ours, and this process is not a fork of the one
  // that created it. Call it while the socket is open: then the inode's number cannot have been
  // reused for another file.
  void remove();

 private:
  Fd folder_;
  std::string name_;  // of the file in folder_
  FileId id_;
  std::shared_ptr<std::atomic<bool>> ours_;
  std::uint32_t process_ = 0;  // the owner: sys::process_generation()
};

}  // namespace weir::internal
