#pragma once

#include <string>

namespace rangecache::test {

/// The index page of a directory on disk as nginx's autoindex makes it, with exact sizes and
/// without dot files. `shown` is the path that its title names.
std::string index_page(const std::string& directory, const std::string& shown);

}  // namespace rangecache::test
