#include "cache/chunk_store.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/stat.h>
#include <unistd.h>
#include <xxhash.h>

#include <charconv>
#include <nlohmann/json.hpp>
#include <optional>
#include <utility>

#include "cache/verifier.h"

namespace rangecache::cache {
namespace {

constexpr const char* kFormat = "rangecache 1\n";
constexpr mode_t kDirectoryMode = 0700;
constexpr mode_t kFileMode = 0600;
constexpr std::uint64_t kMaxMeta = 64 * 1024;

std::optional<std::uint64_t> parse_hex(std::string_view text) {
  std::uint64_t value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value, 16);
  if (error != std::errc{} || end != text.data() + text.size()) return std::nullopt;
  return value;
}

std::optional<VersionId> parse_version_id(std::string_view name) {
  if (name.size() != 32) return std::nullopt;
  const auto high = parse_hex(name.substr(0, 16)), low = parse_hex(name.substr(16));
  if (!high || !low) return std::nullopt;
  return VersionId{*high, *low};
}

std::optional<ByteRange> parse_range(std::string_view name) {
  if (name.size() != 33 || name[16] != '-') return std::nullopt;
  const auto begin = parse_hex(name.substr(0, 16)), end = parse_hex(name.substr(17));
  if (!begin || !end || *begin >= *end) return std::nullopt;
  return ByteRange{*begin, *end};
}

std::string checksum_of(const nlohmann::json& fields) {
  const std::string text = fields.dump();
  return fmt::format("{:016x}", XXH3_64bits(text.data(), text.size()));
}

/// Remote names and tags are bytes, not text: hex keeps every one of them in JSON.
std::string to_hex(std::string_view bytes) {
  std::string hex;
  for (const char c : bytes) hex += fmt::format("{:02x}", static_cast<unsigned char>(c));
  return hex;
}

std::string from_hex(const std::string& hex) {
  std::string bytes;
  for (std::size_t i = 0; i + 1 < hex.size(); i += 2)
    bytes += static_cast<char>(parse_hex(std::string_view(hex).substr(i, 2)).value_or(0));
  return bytes;
}

/// The checksum that a chunk's attribute holds, if it is this chunk's.
std::optional<std::uint64_t> checksum_in(std::string_view mark, const VersionId& id,
                                         ByteRange range) {
  if (mark.size() < 16) return std::nullopt;
  const auto whole = parse_hex(mark.substr(mark.size() - 16));
  if (!whole || mark != ChunkStore::identity(id, range, *whole)) return std::nullopt;
  return whole;
}

}  // namespace

Result<std::unique_ptr<ChunkStore>> ChunkStore::open(FileSystem& files, std::string directory,
                                                     Durability durability) {
  while (directory.size() > 1 && directory.back() == '/') directory.pop_back();
  std::unique_ptr<ChunkStore> store(new ChunkStore(files, std::move(directory), durability));
  RC_TRY(store->check_directory());
  RC_TRY(store->take_lock());
  RC_TRY(store->check_format());
  for (const char* name : {"/objects", "/tmp", "/manifest"})
    RC_TRY(files.make_directory(store->directory_ + name, kDirectoryMode));
  RC_TRY(store->sweep_temporary());
  return store;
}

Result<void> ChunkStore::check_directory() {
  // Parents are made as mkdir -p makes them; only the cache directory itself is private.
  for (std::size_t slash = directory_.find('/', 1); slash != std::string::npos;
       slash = directory_.find('/', slash + 1)) {
    (void)files_.make_directory(directory_.substr(0, slash), 0755);
  }
  if (auto made = files_.make_directory(directory_, kDirectoryMode); !made) {
    made.error().context =
        "the cache directory: " + made.error().context + "; choose another with --cache-dir";
    return made;
  }
  RC_ASSIGN(const FileSystem::Status status, files_.status(directory_));
  const auto refuse = [&](const char* why, const char* remedy) {
    return Error(ErrorCode::kPermissionDenied,
                 fmt::format("the cache directory {} {}: {}", directory_, why, remedy));
  };
  if (S_ISLNK(status.mode)) return refuse("is a symbolic link", "give the path that it leads to");
  if (!S_ISDIR(status.mode)) return refuse("is not a directory", "choose another with --cache-dir");
  if (status.owner != geteuid())
    return refuse("belongs to another user", "choose another with --cache-dir");
  if (status.mode & 022)
    return refuse("can be written to by other users", "chmod 700 it, or choose another");
  return {};
}

Result<void> ChunkStore::take_lock() {
  const std::string path = directory_ + "/lock";
  auto lock = files_.open(path, O_RDWR | O_CREAT, kFileMode);
  if (!lock) {
    lock.error().context += "; the cache directory must be writable: choose one with --cache-dir";
    return lock.error();
  }
  lock_ = std::move(*lock);
  if (auto locked = files_.lock(lock_.get()); !locked) {
    if (locked.error().code != ErrorCode::kBusy) return locked;
    const auto holder = files_.read_file(path, 64);
    return Error(
        ErrorCode::kBusy,
        fmt::format("the cache directory {} is in use by another rangecached (pid {}): stop "
                    "it, or choose another with --cache-dir",
                    directory_, holder && !holder->empty() ? *holder : "unknown"));
  }
  const std::string pid = fmt::format("{}", getpid());
  if (::ftruncate(lock_.get(), 0) != 0) return error_from_errno(errno, "cannot write " + path);
  // Only for the message above: a full disk must not keep the daemon from its cache.
  (void)files_.write_all(lock_.get(), std::as_bytes(std::span(pid)), 0);
  return {};
}

Result<void> ChunkStore::check_format() {
  const std::string path = directory_ + "/format";
  if (const auto format = files_.read_file(path, 1024)) {
    if (*format == kFormat) return {};
    return Error(
        ErrorCode::kUnsupported,
        fmt::format("{} says '{}', this version writes '{}': choose another --cache-dir, or "
                    "remove that one",
                    path, format->substr(0, format->find('\n')), "rangecache 1"));
  } else if (format.error().code != ErrorCode::kNotFound) {
    return format.error();
  }
  // Not a cache yet. A directory with other things in it is not taken over.
  RC_ASSIGN(const auto entries, files_.list(directory_));
  for (const FileSystem::Entry& entry : entries) {
    if (entry.name == "lock" || entry.name == "format.new") continue;  // of a start that died
    return Error(ErrorCode::kInvalidArgument,
                 fmt::format("{} is not empty and no cache ('{}' is in it): choose another "
                             "--cache-dir",
                             directory_, entry.name));
  }
  const std::string temp = path + ".new";
  {
    RC_ASSIGN(const UniqueFd fd, files_.open(temp, O_WRONLY | O_CREAT | O_TRUNC, kFileMode));
    RC_TRY(files_.write_all(fd.get(), std::as_bytes(std::span(std::string_view(kFormat))), 0));
    // Once in a cache's life, whatever its durability: a power cut must not leave a name whose
    // bytes are zeros, which would be a format that nobody knows.
    RC_TRY(files_.sync(fd.get()));
  }
  RC_TRY(files_.rename(temp, path));
  return sync_directory(directory_);
}

Result<void> ChunkStore::sweep_temporary() {
  // The lock is ours: nobody is writing these.
  RC_ASSIGN(const auto entries, files_.list(directory_ + "/tmp"));
  for (const FileSystem::Entry& entry : entries)
    RC_TRY(files_.unlink(directory_ + "/tmp/" + entry.name));
  return {};
}

std::string ChunkStore::version_path(const VersionId& id) const {
  const std::string hex = id.hex();
  return fmt::format("{}/objects/{}/{}", directory_, hex.substr(0, 2), hex);
}

std::string ChunkStore::chunk_path(const VersionId& id, ByteRange range) const {
  return fmt::format("{}/{:016x}-{:016x}", version_path(id), range.begin, range.end);
}

std::string ChunkStore::temp_path() {
  return fmt::format("{}/tmp/{}.{}", directory_, getpid(), next_temp_++);
}

Result<void> ChunkStore::restore_directory(const VersionId& id) {
  if (files_.make_directory(version_path(id), kDirectoryMode)) return {};
  RC_TRY(files_.make_directory(directory_ + "/objects", kDirectoryMode));
  RC_TRY(files_.make_directory(fmt::format("{}/objects/{}", directory_, id.hex().substr(0, 2)),
                               kDirectoryMode));
  return files_.make_directory(version_path(id), kDirectoryMode);
}

Result<void> ChunkStore::create_version(const VersionRecord& record) {
  RC_TRY(restore_directory(record.id));
  auto written = write_meta(record);
  if (written && durability_ == Durability::kStrict) {
    const std::string path = version_path(record.id);
    for (const std::size_t length : {path.size(), path.rfind('/'), path.rfind('/') - 3}) {
      if (written) written = sync_directory(path.substr(0, length));
    }
  }
  if (!written) (void)files_.remove_directory(version_path(record.id));  // fails if it is in use
  return written;
}

Result<void> ChunkStore::write_meta(const VersionRecord& record) {
  const nlohmann::json fields = {{"origin", to_hex(record.origin_id)},
                                 {"key", to_hex(record.key)},
                                 {"validator_kind", static_cast<int>(record.validator.kind)},
                                 {"validator", to_hex(record.validator.value)},
                                 {"size", record.size},
                                 {"modified_s", record.modified_s}};
  const std::string text =
      nlohmann::json{{"version", fields}, {"checksum", checksum_of(fields)}}.dump();
  const std::string temp = temp_path();
  {
    RC_ASSIGN(const UniqueFd fd, files_.open(temp, O_WRONLY | O_CREAT | O_EXCL, kFileMode));
    auto written = files_.write_all(fd.get(), std::as_bytes(std::span(text)), 0);
    if (written && durability_ == Durability::kStrict) written = files_.sync(fd.get());
    if (!written) {
      (void)files_.unlink(temp);
      return written;
    }
  }
  auto renamed = files_.rename(temp, version_path(record.id) + "/meta");
  if (!renamed) (void)files_.unlink(temp);
  return renamed;
}

Result<void> ChunkStore::sync_directory(const std::string& path) {
  RC_ASSIGN(const UniqueFd fd, files_.open(path, O_RDONLY | O_DIRECTORY, 0));
  return files_.sync(fd.get());
}

Result<void> ChunkStore::sync_names(const VersionId& id) {
  if (durability_ != Durability::kStrict) return {};
  return sync_directory(version_path(id));
}

Result<VersionRecord> ChunkStore::read_meta(const VersionId& id) const {
  const std::string path = version_path(id) + "/meta";
  RC_ASSIGN(const std::string text, files_.read_file(path, kMaxMeta));
  const Error corrupt(ErrorCode::kCorrupt, path + " is damaged");
  const auto json = nlohmann::json::parse(text, nullptr, /*allow_exceptions=*/false);
  if (!json.is_object() || !json.contains("version") || !json["version"].is_object() ||
      json.value("checksum", nlohmann::json()) != checksum_of(json["version"])) {
    return corrupt;
  }
  VersionRecord record;
  try {
    const auto& fields = json["version"];
    record.origin_id = from_hex(fields.at("origin").get<std::string>());
    record.key = from_hex(fields.at("key").get<std::string>());
    record.validator.kind = static_cast<Validator::Kind>(fields.at("validator_kind").get<int>());
    record.validator.value = from_hex(fields.at("validator").get<std::string>());
    record.size = fields.at("size").get<std::uint64_t>();
    record.modified_s = fields.at("modified_s").get<std::int64_t>();
  } catch (const nlohmann::json::exception&) {
    return corrupt;
  }
  record.id = VersionId::of(record.origin_id, record.key, record.validator, record.size);
  if (record.id != id) return corrupt;  // a directory under another version's name
  return record;
}

Result<void> ChunkStore::remove_version(const VersionId& id) {
  const std::string path = version_path(id);
  if (auto removed = files_.unlink(path + "/meta");
      !removed && removed.error().code != ErrorCode::kNotFound) {
    return removed;
  }
  if (auto removed = files_.remove_directory(path);
      !removed && removed.error().code != ErrorCode::kNotFound) {
    return removed;
  }
  return {};
}

Result<UniqueFd> ChunkStore::open_chunk(const VersionId& id, ByteRange range) const {
  const std::string path = chunk_path(id, range);
  RC_ASSIGN(UniqueFd fd, files_.open(path, O_RDONLY, 0));
  RC_ASSIGN(const FileSystem::Status status, files_.status(fd.get()));
  if (status.size != range.size()) {
    return Error(ErrorCode::kCorrupt,
                 fmt::format("{} has {} bytes instead of {}", path, status.size, range.size()));
  }
  return fd;
}

Result<void> ChunkStore::remove_chunk(const VersionId& id, ByteRange range) {
  return files_.unlink(chunk_path(id, range));
}

std::string ChunkStore::identity(const VersionId& id, ByteRange range, std::uint64_t checksum) {
  return fmt::format("2 {} {} {} {:016x}", id.hex(), range.begin, range.end, checksum);
}

Result<void> ChunkStore::scan(const OnVersion& on_version) const {
  const std::string objects = directory_ + "/objects";
  RC_ASSIGN(const auto prefixes, files_.list(objects));
  Result<void> result;  // one unreadable directory must not hide the others
  const auto list = [&](const std::string& path) {
    auto entries = files_.list(path);
    if (entries) return *std::move(entries);
    if (result) result = entries.error();
    return std::vector<FileSystem::Entry>();
  };
  for (const FileSystem::Entry& prefix : prefixes) {
    if (!prefix.is_directory) continue;
    for (const FileSystem::Entry& version : list(objects + "/" + prefix.name)) {
      const auto id = parse_version_id(version.name);
      if (!id || !version.is_directory) continue;
      const std::string path = version_path(*id);
      if (path != objects + "/" + prefix.name + "/" + version.name) continue;
      std::vector<ByteRange> chunks;
      for (const FileSystem::Entry& chunk : list(path)) {
        const auto range = parse_range(chunk.name);
        if (!range || chunk.is_directory) continue;
        if (chunk_path(*id, *range) == path + "/" + chunk.name) chunks.push_back(*range);
      }
      if (!on_version(*id, std::move(chunks))) return result;
    }
  }
  return result;
}

bool ChunkStore::has_versions() const {
  const auto entries = files_.list(directory_ + "/objects");
  return !entries || !entries->empty();
}

bool ChunkStore::is_chunk(const VersionId& id, ByteRange range) const {
  const auto fd = open_chunk(id, range);
  if (!fd) return false;
  const auto mark = files_.attribute(fd->get(), kIdentityAttribute);
  return mark && checksum_in(*mark, id, range).has_value();
}

Result<std::vector<std::uint32_t>> ChunkStore::prove(const VersionId& id, ByteRange range,
                                                     int fd) const {
  RC_ASSIGN(const std::string mark, files_.attribute(fd, kIdentityAttribute));
  const auto whole = checksum_in(mark, id, range);
  RC_ASSIGN(auto measured, measure_chunk(files_, fd, range));
  if (!whole || chunk_checksum(measured) != *whole)
    return Error(ErrorCode::kCorrupt, chunk_path(id, range) + " is not what it was");
  return measured;
}

}  // namespace rangecache::cache
