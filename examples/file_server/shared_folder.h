// SharedFolder: what lies in and below a folder, to be read. [any]
//
// No path leads out of it: openat2(2) with RESOLVE_BENEATH refuses "..", absolute paths and
// symbolic links that would, whatever others rename meanwhile. It takes Linux 5.6.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "weir/base/fd.h"
#include "weir/base/result.h"

class SharedFolder {
 public:
  // A folder with more entries is not listed: the answer is one piece, and takes time on the loop.
  static constexpr std::size_t kMaxEntries = 4096;

  struct File {
    weir::Fd fd;
    std::uint64_t size = 0;
  };
  struct Entry {
    std::string name;
    bool folder = false;
    std::uint64_t size = 0;  // of a file
  };

  static weir::Result<SharedFolder> open(const std::string& path);

  // Regular files only.
  weir::Result<File> open_file(const std::string& path) const;
  // Its files and folders, by name. Empty: the shared folder itself.
  weir::Result<std::vector<Entry>> list(const std::string& path) const;

 private:
  explicit SharedFolder(weir::Fd root) : root_(std::move(root)) {}
  weir::Result<weir::Fd> open_below(const std::string& path, int flags) const;
  std::optional<Entry> entry_of(int folder, const std::string& path, const std::string& name) const;

  weir::Fd root_;
};
