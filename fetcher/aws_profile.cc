#include "fetcher/aws_profile.h"

#include <fmt/format.h>

#include <algorithm>
#include <cstdlib>
#include <fstream>
#include <iterator>

namespace rangecache::fetcher {
namespace {

std::string_view trim(std::string_view text) {
  constexpr const char* kSpace = " \t\r";
  const std::size_t begin = text.find_first_not_of(kSpace);
  if (begin == std::string_view::npos) return {};
  return text.substr(begin, text.find_last_not_of(kSpace) + 1 - begin);
}

IniFile read_file(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  return parse_aws_file(std::string(std::istreambuf_iterator<char>(file), {}));
}

std::string value(const IniFile& file, const std::string& section, std::string_view key) {
  const auto found = file.find(section);
  if (found == file.end()) return {};
  const auto text = found->second.find(key);
  return text == found->second.end() ? std::string() : text->second;
}

}  // namespace

Environment process_environment() {
  return [](const char* name) {
    const char* text = std::getenv(name);
    return std::string(text ? text : "");
  };
}

IniFile parse_aws_file(std::string_view text) {
  IniFile file;
  IniFile::mapped_type* section = nullptr;
  std::string block;
  while (!text.empty()) {
    const std::string_view line = text.substr(0, text.find('\n'));
    text.remove_prefix(std::min(line.size() + 1, text.size()));
    const std::string_view content = trim(line);
    if (content.empty() || content.front() == '#' || content.front() == ';') continue;
    if (content.front() == '[' && content.back() == ']') {
      // "[profile x]" with any space between.
      const std::string_view name = trim(content.substr(1, content.size() - 2));
      const std::size_t space = name.find_first_of(" \t");
      section = &file[space == std::string_view::npos
                          ? std::string(name)
                          : fmt::format("{} {}", name.substr(0, space), trim(name.substr(space)))];
      block.clear();
      continue;
    }
    const std::size_t equals = content.find('=');
    if (section == nullptr || equals == std::string_view::npos) continue;
    const std::string key(trim(content.substr(0, equals)));
    const std::string text_of_key(trim(content.substr(equals + 1)));
    const bool indented = line.front() == ' ' || line.front() == '\t';
    if (!indented) block = text_of_key.empty() ? key + "." : "";
    (*section)[indented ? block + key : key] = text_of_key;
  }
  return file;
}

AwsFiles AwsFiles::read(const Environment& environment) {
  AwsFiles files;
  const std::string home = environment("HOME") + "/.aws/";
  files.config_path = environment("AWS_CONFIG_FILE");
  if (files.config_path.empty()) files.config_path = home + "config";
  files.credentials_path = environment("AWS_SHARED_CREDENTIALS_FILE");
  if (files.credentials_path.empty()) files.credentials_path = home + "credentials";
  files.config_ = read_file(files.config_path);
  files.credentials_ = read_file(files.credentials_path);
  return files;
}

/// "[profile default]" goes before "[default]".
std::string AwsFiles::section_of(const std::string& profile) const {
  const std::string section = "profile " + profile;
  return profile == "default" && !config_.contains(section) ? profile : section;
}

bool AwsFiles::has_profile(const std::string& name) const {
  return config_.contains(section_of(name)) || credentials_.contains(name);
}
std::string AwsFiles::config(const std::string& profile, std::string_view key) const {
  return value(config_, section_of(profile), key);
}
std::string AwsFiles::credential(const std::string& profile, std::string_view key) const {
  return value(credentials_, profile, key);
}
std::string AwsFiles::sso_session(const std::string& session, std::string_view key) const {
  return value(config_, "sso-session " + session, key);
}

}  // namespace rangecache::fetcher
