#include "tests/support/origin_index.h"

#include <dirent.h>
#include <fmt/format.h>
#include <sys/stat.h>

#include <algorithm>
#include <utility>
#include <vector>

#include "tests/support/origin_request.h"

namespace rangecache::test {

std::string index_page(const std::string& directory, const std::string& shown) {
  std::vector<std::pair<std::string, struct stat>> entries;
  if (DIR* stream = ::opendir(directory.c_str())) {
    while (const dirent* entry = ::readdir(stream)) {
      struct stat status {};
      if (entry->d_name[0] == '.' || ::fstatat(::dirfd(stream), entry->d_name, &status, 0) != 0)
        continue;
      entries.emplace_back(entry->d_name, status);
    }
    ::closedir(stream);
  }
  std::sort(entries.begin(), entries.end(), [](const auto& a, const auto& b) {
    const bool a_dir = S_ISDIR(a.second.st_mode), b_dir = S_ISDIR(b.second.st_mode);
    return a_dir != b_dir ? a_dir : a.first < b.first;
  });
  const std::string title = "Index of " + html_escape(shown);
  std::string page = "<html>\r\n<head><title>" + title + "</title></head>\r\n<body>\r\n<h1>" +
                     title + "</h1><hr><pre><a href=\"../\">../</a>\r\n";
  for (const auto& [name, status] : entries) {
    const bool is_directory = S_ISDIR(status.st_mode);
    std::tm utc{};
    gmtime_r(&status.st_mtim.tv_sec, &utc);
    char date[40];
    std::strftime(date, sizeof date, "%d-%b-%Y %H:%M", &utc);
    const char* slash = is_directory ? "/" : "";
    page += fmt::format("<a href=\"{}{}\">{}{}</a> {} {:>19}\r\n", url_encode(name), slash,
                        html_escape(name), slash, date,
                        is_directory ? std::string("-") : std::to_string(status.st_size));
  }
  return page + "</pre><hr></body>\r\n</html>\r\n";
}

}  // namespace rangecache::test
