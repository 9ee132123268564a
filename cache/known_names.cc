#include "cache/known_names.h"

#include <algorithm>
#include <utility>

#include "base/wire.h"
#include "cache/record_format.h"

namespace rangecache::cache {
namespace {

namespace rf = record_format;

constexpr std::string_view kMagic = "RCNAMES\n";
constexpr std::uint32_t kVersion = 1;
constexpr std::uint64_t kGeneration = 0;  // the file is written whole
constexpr std::size_t kEntriesPerRecord = 4'096;

enum : std::uint8_t { kDirectory = 1, kHasSize = 2, kHasTime = 4, kComplete = 1 };

void put(wire::Writer& out, const Validator& validator) {
  out.u8(static_cast<std::uint8_t>(validator.kind));
  out.string(validator.value);
}

Validator get_validator(wire::Reader& in) {
  const std::uint8_t kind = in.u8();
  if (kind > static_cast<std::uint8_t>(Validator::Kind::kPrivate)) in.fail();
  return {static_cast<Validator::Kind>(kind), in.string()};
}

void put(wire::Writer& out, const ListEntry& entry) {
  out.string(entry.name);
  out.u8(static_cast<std::uint8_t>((entry.is_directory ? kDirectory : 0) |
                                   (entry.size ? kHasSize : 0) |
                                   (entry.modified_s ? kHasTime : 0)));
  if (entry.size) out.u64(*entry.size);
  if (entry.modified_s) out.i64(*entry.modified_s);
  put(out, entry.validator);
}

std::uint64_t get_size(wire::Reader& in) {
  const std::uint64_t size = in.u64();
  if (size > kMaxObjectSize) in.fail();
  return size;
}

/// What ListEntry promises of a name.
bool is_name(std::string_view name) {
  return !name.empty() && name != "." && name != ".." && name.find('/') == name.npos &&
         name.find('\0') == name.npos;
}

ListEntry get_entry(wire::Reader& in) {
  ListEntry entry;
  entry.name = in.string();
  if (!is_name(entry.name)) in.fail();
  const std::uint8_t flags = in.u8();
  entry.is_directory = flags & kDirectory;
  if (flags & kHasSize) entry.size = get_size(in);
  if (flags & kHasTime) entry.modified_s = in.i64();
  entry.validator = get_validator(in);
  return entry;
}

void append(std::string& file, rf::Type type, wire::Writer& payload) {
  rf::append_frame(file, kGeneration, type, payload.take());
}

void append(std::string& file, const KnownNames::Listing& listing) {
  wire::Writer head;
  head.string(listing.origin_id);
  head.string(listing.dir_key);
  head.u8(listing.complete ? kComplete : 0);
  head.u64(listing.hidden_entries);
  head.i64(listing.fresh_until_s);
  head.u64(listing.entries.size());
  append(file, rf::Type::kListing, head);
  for (std::size_t at = 0; at < listing.entries.size(); at += kEntriesPerRecord) {
    const std::size_t end = std::min(at + kEntriesPerRecord, listing.entries.size());
    wire::Writer entries;
    for (std::size_t i = at; i < end; ++i) put(entries, listing.entries[i]);
    append(file, rf::Type::kListEntries, entries);
  }
}

/// Takes the records in their order; a listing counts once all its entries are there.
class Decoder {
 public:
  bool take(const rf::Frame& frame) {
    wire::Reader in(frame.payload);
    switch (frame.type) {
      case rf::Type::kListing:
        begin_listing(in);
        break;
      case rf::Type::kListEntries:
        while (in.ok() && !in.rest().empty()) listing_.entries.push_back(get_entry(in));
        break;
      case rf::Type::kKnownObject: {
        KnownNames::Object object{in.string(), in.string(), get_validator(in), get_size(in),
                                  in.i64(),    in.i64(),    in.i64()};
        if (in.complete()) names.objects.push_back(std::move(object));
        break;
      }
      case rf::Type::kAbsence: {
        KnownNames::Absence absence{in.string(), in.string(), in.i64()};
        if (in.complete()) names.absences.push_back(std::move(absence));
        break;
      }
      default:
        return true;  // of a later day
    }
    if (!in.complete()) return false;
    if (listed_ && listing_.entries.size() == expected_) {
      names.listings.push_back(std::move(listing_));
      listed_ = false;
    }
    return true;
  }
  KnownNames names;

 private:
  void begin_listing(wire::Reader& in) {
    listing_ = {};
    listing_.origin_id = in.string();
    listing_.dir_key = in.string();
    listing_.complete = in.u8() & kComplete;
    listing_.hidden_entries = in.u64();
    listing_.fresh_until_s = in.i64();
    expected_ = in.u64();
    listed_ = true;
  }

  KnownNames::Listing listing_;
  std::uint64_t expected_ = 0;
  bool listed_ = false;  ///< listing_ is begun
};

}  // namespace

void KnownNames::expire() {
  for (Listing& listing : listings) listing.fresh_until_s = 0;
  for (Object& object : objects) object.fresh_until_s = 0;
  absences.clear();
}

std::string encode(const KnownNames& names) {
  std::string file;
  wire::Writer header;
  header.bytes(kMagic);
  header.u32(kVersion);
  append(file, rf::Type::kHeader, header);
  for (const KnownNames::Listing& listing : names.listings) append(file, listing);
  for (const KnownNames::Object& object : names.objects) {
    wire::Writer out;
    out.string(object.origin_id);
    out.string(object.key);
    put(out, object.validator);
    out.u64(object.size);
    out.i64(object.modified_s);
    out.i64(object.validated_s);
    out.i64(object.fresh_until_s);
    append(file, rf::Type::kKnownObject, out);
  }
  for (const KnownNames::Absence& absence : names.absences) {
    wire::Writer out;
    out.string(absence.origin_id);
    out.string(absence.key);
    out.i64(absence.until_s);
    append(file, rf::Type::kAbsence, out);
  }
  return file;
}

Result<KnownNames> decode_known_names(std::string_view bytes) {
  const auto header = rf::take_frame(bytes, kGeneration);
  wire::Reader in(header ? header->payload : std::string_view());
  if (!header || header->type != rf::Type::kHeader || in.bytes(kMagic.size()) != kMagic ||
      in.u32() != kVersion)
    return Error(ErrorCode::kCorrupt, "not a file of known names, or of another version");
  Decoder decoder;
  while (!bytes.empty()) {
    const auto frame = rf::take_frame(bytes, kGeneration);
    if (!frame || !decoder.take(*frame)) break;
  }
  return std::move(decoder.names);
}

}  // namespace rangecache::cache
