#include "fetcher/s3_xml.h"

#include <fmt/format.h>
#include <libxml/parser.h>
#include <libxml/tree.h>

#include <array>
#include <climits>
#include <cstring>
#include <memory>
#include <unordered_set>
#include <utility>

#include "fetcher/http_headers.h"
#include "fetcher/http_status.h"
#include "fetcher/index_parsers.h"
#include "fetcher/url.h"

namespace rangecache::fetcher {
namespace {

constexpr std::size_t kMaxName = 255;  // NAME_MAX

using Document = std::unique_ptr<xmlDoc, decltype(&xmlFreeDoc)>;

Document parse(std::string_view xml) {
  constexpr int kOptions = XML_PARSE_NONET | XML_PARSE_NOERROR | XML_PARSE_NOWARNING;
  if (xml.size() > INT_MAX) return {nullptr, xmlFreeDoc};
  Document document(
      xmlReadMemory(xml.data(), static_cast<int>(xml.size()), nullptr, nullptr, kOptions),
      xmlFreeDoc);
  // No S3 service sends a DTD, and the entities of one may grow to a thousand times its size:
  // libxml2 bounds what it expands itself, but not xmlNodeGetContent().
  if (document && xmlGetIntSubset(document.get()) != nullptr) document.reset();
  return document;
}

bool is(const xmlNode* node, const char* name) {
  return node->type == XML_ELEMENT_NODE &&
         std::strcmp(reinterpret_cast<const char*>(node->name), name) == 0;
}

const xmlNode* child(const xmlNode* parent, const char* name) {
  for (const xmlNode* node = parent->children; node != nullptr; node = node->next) {
    if (is(node, name)) return node;
  }
  return nullptr;
}

std::string text_of(const xmlNode* parent, const char* name) {
  const xmlNode* node = child(parent, name);
  if (node == nullptr) return {};
  xmlChar* content = xmlNodeGetContent(node);
  if (content == nullptr) return {};
  std::string text(reinterpret_cast<const char*>(content));
  xmlFree(content);
  return text;
}

/// With encoding-type=url a space may be '+' (it is what AWS's own encoder makes of it).
std::optional<std::string> decode(std::string text) {
  for (char& c : text) c = c == '+' ? ' ' : c;
  return decode_segment(text);
}

bool is_name(std::string_view name) {
  return !name.empty() && name != "." && name != ".." && name.size() <= kMaxName &&
         name.find('\0') == std::string_view::npos && name.find('/') == std::string_view::npos;
}

/// The name below the directory, or nullopt if it is not below it.
std::optional<std::string> name_in(const xmlNode* node, const char* element,
                                   std::string_view prefix) {
  auto key = decode(text_of(node, element));
  if (!key || key->compare(0, prefix.size(), prefix) != 0) return std::nullopt;
  return key->substr(prefix.size());
}

ListEntry object_of(const xmlNode* node, std::string name) {
  ListEntry entry;
  entry.name = std::move(name);
  entry.size = parse_size(text_of(node, "Size"));
  entry.modified_s = parse_iso_time(text_of(node, "LastModified"));
  const std::string tag = text_of(node, "ETag");
  if (!tag.empty()) {
    const bool quoted = tag.size() > 1 && tag.front() == '"' && tag.back() == '"';
    // It will stand in a request's header: a tag with a line end in it would add others.
    if (const auto parsed = parse_etag(quoted ? tag : "\"" + tag + "\""))
      entry.validator = {Validator::Kind::kEtag, parsed->tag};
  }
  return entry;
}

}  // namespace

Result<S3ListPage> parse_s3_listing(std::string_view xml, std::string_view prefix) {
  const Document document = parse(xml);
  const xmlNode* root = document ? xmlDocGetRootElement(document.get()) : nullptr;
  if (root == nullptr || !is(root, "ListBucketResult"))
    return Error{ErrorCode::kOriginFailed, "the answer is no S3 listing"};

  S3ListPage result;
  ListPage& page = result.page;
  page.complete = true;
  std::unordered_set<std::string> directories;
  for (const xmlNode* node = root->children; node != nullptr; node = node->next) {
    if (!is(node, "CommonPrefixes")) continue;
    auto name = name_in(node, "Prefix", prefix);
    if (name && !name->empty() && name->back() == '/') name->pop_back();
    if (!name || !is_name(*name)) {
      ++page.hidden_entries;
      continue;
    }
    ListEntry entry;
    entry.name = *name;
    entry.is_directory = true;
    if (directories.insert(*std::move(name)).second) page.entries.push_back(std::move(entry));
  }
  for (const xmlNode* node = root->children; node != nullptr; node = node->next) {
    if (!is(node, "Contents")) continue;
    const auto name = name_in(node, "Key", prefix);
    if (name && name->empty()) {
      result.has_marker = true;
    } else if (!name || !is_name(*name) || directories.contains(*name)) {
      ++page.hidden_entries;
    } else {
      page.entries.push_back(object_of(node, *name));
    }
  }
  if (text_of(root, "IsTruncated") == "true") {
    page.next_token = text_of(root, "NextContinuationToken");
    if (page.next_token.empty())
      return Error{ErrorCode::kOriginFailed, "a listing goes on and does not say where"};
  }
  return result;
}

std::map<std::string, std::string> xml_texts(std::string_view xml) {
  std::map<std::string, std::string> texts;
  const Document document = parse(xml);
  const xmlNode* root = document ? xmlDocGetRootElement(document.get()) : nullptr;
  // In document order, without recursion.
  for (const xmlNode* node = root; node != nullptr;) {
    const bool has_elements = xmlFirstElementChild(const_cast<xmlNode*>(node)) != nullptr;
    if (node->type == XML_ELEMENT_NODE && !has_elements) {
      xmlChar* content = xmlNodeGetContent(node);
      if (content != nullptr)
        texts.emplace(reinterpret_cast<const char*>(node->name),
                      reinterpret_cast<const char*>(content));
      xmlFree(content);
    }
    if (has_elements) {
      node = node->children;
      continue;
    }
    while (node != root && node->next == nullptr) node = node->parent;
    node = node == root ? nullptr : node->next;
  }
  return texts;
}

std::optional<S3Error> parse_s3_error(std::string_view xml) {
  auto texts = xml_texts(xml);
  if (texts["Code"].empty()) return std::nullopt;
  return S3Error{texts["Code"], texts["Message"], texts["RequestId"]};
}

Error s3_failure(const HttpResponse& response, std::string_view body, const std::string& url,
                 std::int64_t now_unix_s) {
  struct Advice {
    const char* code;
    const char* text;
    bool hopeless = false;  ///< nothing else will be granted either
  };
  static constexpr std::array<Advice, 8> kAdvice{{
      {"SignatureDoesNotMatch", "check the secret access key and --region", true},
      {"InvalidAccessKeyId", "check the access key id, and that this endpoint knows it", true},
      {"RequestTimeTooSkewed", "set this machine's clock right", true},
      {"ExpiredToken", "get new credentials: they are looked for again at the next request", true},
      {"InvalidToken", "check the session token", true},
      {"AccessDenied",
       "these credentials may not do this, or there is no such object: without s3:ListBucket S3 "
       "does not tell"},
      {"InvalidObjectState", "the object is archived: restore it first"},
      {"NoSuchBucket", "check the bucket's name, --endpoint-url and --region"},
  }};
  Error failure = status_failure(response, url, now_unix_s).error;
  const std::string* region = response.headers.find("x-amz-bucket-region");
  if (region && (response.status == 301 || response.status == 307 || response.status == 400)) {
    failure.context =
        fmt::format("{}: the bucket is in the region {}: use --region {}", url, *region, *region);
    return failure;
  }
  const auto said = parse_s3_error(body);
  if (!said) return failure;
  failure.context = fmt::format("{}: HTTP {} {}", url, response.status, said->code);
  if (!said->message.empty()) failure.context += ": " + said->message;
  if (!said->request_id.empty()) failure.context += fmt::format(" (request {})", said->request_id);
  for (const Advice& advice : kAdvice) {
    if (said->code != advice.code) continue;
    failure.context += fmt::format("; {}", advice.text);
    if (advice.hopeless) failure.code = ErrorCode::kOriginFailed;
  }
  return failure;
}

}  // namespace rangecache::fetcher
