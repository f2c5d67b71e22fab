// SharedFolder: read access to the files in and below a folder. [any]
//
// No path leads out of the folder: openat2(2) with RESOLVE_BENEATH refuses "..", absolute paths and
// symbolic links that would, also while other processes rename files. Needs Linux 5.6.
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
  // A folder with more entries is not listed: a listing is sent in one piece and takes loop time.
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
  // The files and folders in `path`, sorted by name. Empty path: the shared folder itself.
  weir::Result<std::vector<Entry>> list(const std::string& path) const;

 private:
  explicit SharedFolder(weir::Fd root) : root_(std::move(root)) {}
  weir::Result<weir::Fd> open_below(const std::string& path, int flags) const;
  std::optional<Entry> entry_of(int folder, const std::string& path, const std::string& name) const;

  weir::Fd root_;
};
