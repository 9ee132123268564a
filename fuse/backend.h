#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "base/origin.h"
#include "base/read_ticket.h"
#include "base/slice.h"
#include "rangecache/byte_range.h"
#include "rangecache/result.h"

namespace rangecache::fuse {

/// What the kernel needs to know of a node.
struct NodeAttributes {
  bool is_directory = false;
  std::uint64_t size = 0;         ///< bytes; 0 for directories
  std::int64_t modified_s = 0;    ///< Unix seconds
  std::uint64_t stable_ino = 0;   ///< st_ino: one per object, whatever its version
  std::int64_t valid_for_ms = 0;  ///< how long the kernel may use name and attributes unasked
};

/// A directory, or one *version* of a file: the kernel's node id stands for it. Backends derive
/// from it. Two lookups that find the same version return the same Node.
class Node {
 public:
  virtual ~Node() = default;
  virtual NodeAttributes attributes() const = 0;
};
using NodePtr = std::shared_ptr<Node>;

/// What one open handle remembers between its reads (read-ahead). Backends derive from it.
class Handle {
 public:
  virtual ~Handle() = default;
};

struct DirEntry {
  std::string name;
  bool is_directory = false;
  std::uint64_t stable_ino = 0;
  /// Set when the listing told everything that a lookup would (READDIRPLUS): no request is made.
  NodePtr node;
};
using DirectoryPage = std::vector<DirEntry>;

/// What an open directory has, in an order that stays, told as it becomes known. Thread-safe;
/// callbacks as Backend's.
class DirectoryPages {
 public:
  virtual ~DirectoryPages() = default;
  /// Page `index`; null: there are fewer. Pages are asked for in order, each once.
  virtual void page(std::size_t index, Callback<std::shared_ptr<const DirectoryPage>> done) = 0;
};

struct FileSystemSpace {
  std::uint64_t total_bytes = 0;  ///< the cache's limit
  std::uint64_t free_bytes = 0;
  std::uint64_t files = 0;
};

/// The file tree behind one mount. Thread-safe. Callbacks come once, from any thread, possibly
/// from within the call; no lock is held during them.
class Backend {
 public:
  virtual ~Backend() = default;
  virtual NodePtr root() = 0;
  virtual void lookup(const NodePtr& directory, std::string name, Callback<NodePtr> done) = 0;
  virtual void open_directory(const NodePtr& directory,
                              Callback<std::shared_ptr<DirectoryPages>> done) = 0;
  /// kStale: the name stands for another version by now. The kernel then looks the name up anew
  /// and opens what it finds (do_filp_open repeats with LOOKUP_REVAL), so the program sees the new
  /// version and no error: close-to-open consistency, however long names are believed.
  virtual void open(const NodePtr& file, Callback<std::shared_ptr<Handle>> done) = 0;
  /// The slices cover `range` cut at the file's end.
  virtual ReadTicket read(const NodePtr& file, Handle& handle, ByteRange range,
                          Callback<Slices> done) = 0;
  /// All of `file` as one slice that is a whole file on disk, of exactly the object's size: the
  /// kernel may read it by itself from then on. nullopt if there is none, or reads are to be seen.
  virtual std::optional<Slice> whole_file(const NodePtr& file) = 0;
  /// Extended attributes (user.rangecache.*) by full name.
  virtual std::vector<std::pair<std::string, std::string>> extended_attributes(
      const NodePtr& node) = 0;
  virtual FileSystemSpace space() = 0;
};

}  // namespace rangecache::fuse
