#include "daemon/mount_source.h"

#include <fmt/format.h>

#include <cctype>
#include <fstream>
#include <set>
#include <sstream>

namespace rangecache::daemon {
namespace {

int hex_digit(char c) {
  if (c >= '0' && c <= '9') return c - '0';
  c = static_cast<char>(std::tolower(static_cast<unsigned char>(c)));
  return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

std::string decode(std::string_view text) {
  std::string out;
  for (std::size_t i = 0; i < text.size(); ++i) {
    if (text[i] == '%' && i + 2 < text.size() && hex_digit(text[i + 1]) >= 0 &&
        hex_digit(text[i + 2]) >= 0) {
      out += static_cast<char>(hex_digit(text[i + 1]) * 16 + hex_digit(text[i + 2]));
      i += 2;
    } else {
      out += text[i];
    }
  }
  return out;
}

std::string unique_name(const std::string& wanted, std::set<std::string>& taken) {
  std::string name = wanted;
  for (int n = 2; !taken.insert(name).second; ++n) name = fmt::format("{}.{}", wanted, n);
  return name;
}

}  // namespace

std::string file_name_of(const std::string& key) {
  const std::string path = key.substr(0, key.find('?'));
  const auto slash = path.rfind('/');
  std::string name = decode(slash == std::string::npos ? path : path.substr(slash + 1));
  for (char& c : name) {
    if (c == '/' || c == '\0') c = '_';
  }
  if (name.empty() || name == "." || name == "..") return "object";
  return name.substr(0, 255);
}

void find_mount_source(cache::Catalog& catalog, ObjectAddress address, Callback<MountSource> done) {
  MountSource source;
  source.label = address.origin->url_of(address.key);
  if (address.key.empty() || address.key.back() == '/') {
    source.directory = address;
    catalog.open_directory(
        address, [source, done = std::move(done)](Result<cache::ListingPagesPtr> pages) mutable {
          // A server without index pages is still worth mounting: names can be opened one by one.
          if (!pages && pages.error().code != ErrorCode::kPermissionDenied &&
              pages.error().code != ErrorCode::kUnsupported) {
            return done(pages.error());
          }
          done(std::move(source));
        });
    return;
  }
  catalog.open(address, [&catalog, source, address,
                         done = std::move(done)](Result<cache::SnapshotPtr> snapshot) mutable {
    if (snapshot) {
      source.files.emplace_back(file_name_of(address.key), address);
      return done(std::move(source));
    }
    const ObjectAddress directory{address.origin, address.key + "/"};
    if (snapshot.error().code == ErrorCode::kIsDirectory)
      return find_mount_source(catalog, directory, std::move(done));
    if (snapshot.error().code != ErrorCode::kNotFound) return done(snapshot.error());
    // In a bucket no object need have the name of a directory.
    catalog.open_directory(directory, [directory, error = snapshot.error(), done = std::move(done)](
                                          Result<cache::ListingPagesPtr> pages) mutable {
      if (!pages) return done(std::move(error));
      MountSource found;
      found.label = directory.origin->url_of(directory.key);
      found.directory = directory;
      done(std::move(found));
    });
  });
}

Result<std::vector<std::pair<std::string, std::string>>> read_url_list(const std::string& path) {
  std::ifstream file(path);
  if (!file)
    return Error(ErrorCode::kNotFound, "the list of URLs " + path + " cannot be read", errno);
  std::vector<std::pair<std::string, std::string>> list;
  std::set<std::string> taken;
  std::string line;
  while (std::getline(file, line)) {
    std::istringstream words(line);
    std::string url, name;
    words >> url >> name;
    if (url.empty() || url[0] == '#') continue;
    if (name.empty()) name = file_name_of(url);
    if (name.find('/') != std::string::npos)
      return Error(ErrorCode::kInvalidArgument,
                   fmt::format("{}: the name '{}' holds a '/'", path, name));
    list.emplace_back(unique_name(name, taken), url);
  }
  if (list.empty()) return Error(ErrorCode::kInvalidArgument, path + " lists no URL");
  return list;
}

}  // namespace rangecache::daemon
