#pragma once

#include <string>
#include <utility>
#include <vector>

#include "base/origin.h"
#include "cache/catalog.h"

namespace rangecache::daemon {

/// What stands at the root of a mount.
struct MountSource {
  std::string label;        ///< what `mount` and `df` show: the URL, or the list's file name
  ObjectAddress directory;  ///< a directory of the origin, when `files` is empty
  /// Else: a flat directory of these objects, by the names they are shown under.
  std::vector<std::pair<std::string, ObjectAddress>> files;
};

/// Finds out whether `address` is a directory of its origin or a single file (then its mount is a
/// directory with that file in it). Asks the origin; an error means that nothing is to be had
/// there. Callback on the origin's thread or from within the call.
void find_mount_source(cache::Catalog& catalog, ObjectAddress address, Callback<MountSource> done);

/// The name under which an object of a list is shown: the last part of its key, decoded by the
/// origin's rules as far as a file name allows.
std::string file_name_of(const std::string& key);

/// Reads a list of URLs: one a line, '#' begins a comment, "URL NAME" gives it another name.
/// Names that occur twice get a number.
Result<std::vector<std::pair<std::string, std::string>>> read_url_list(const std::string& path);

}  // namespace rangecache::daemon
