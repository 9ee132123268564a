#include <libxml/HTMLparser.h>
#include <libxml/tree.h>

#include <climits>
#include <cstring>
#include <memory>

#include "fetcher/http_headers.h"
#include "fetcher/index_parsers.h"
#include "fetcher/url.h"

namespace rangecache::fetcher {
namespace {

using Document = std::unique_ptr<xmlDoc, decltype(&xmlFreeDoc)>;

bool is_element(const xmlNode* node, const char* name) {
  return node->type == XML_ELEMENT_NODE &&
         std::strcmp(reinterpret_cast<const char*>(node->name), name) == 0;
}

std::string attribute(xmlNode* node, const char* name) {
  xmlChar* value = xmlGetProp(node, reinterpret_cast<const xmlChar*>(name));
  if (value == nullptr) return {};
  std::string text(reinterpret_cast<const char*>(value));
  xmlFree(value);
  return text;
}

/// The next node of a walk in document order below `root`; no recursion, whatever the depth.
xmlNode* next_node(xmlNode* node, const xmlNode* root) {
  if (node->children && node->type == XML_ELEMENT_NODE) return node->children;
  while (node != root && node->next == nullptr) node = node->parent;
  return node == root ? nullptr : node->next;
}

/// The node after `node` and everything in it.
xmlNode* next_outside(xmlNode* node, const xmlNode* root) {
  while (node != root && node->next == nullptr) node = node->parent;
  return node == root ? nullptr : node->next;
}

void append_text(std::string& text, const xmlNode* node) {
  if (node->type != XML_TEXT_NODE || node->content == nullptr) return;
  const std::string_view content(reinterpret_cast<const char*>(node->content));
  for (std::size_t i = 0; i < content.size(); ++i) {
    const bool no_break_space = content.substr(i, 2) == "\xC2\xA0";
    text += no_break_space ? ' ' : content[i];
    if (no_break_space) ++i;
  }
  text += ' ';
}

/// What stands behind the link, up to the next one: the rest of its row or line.
ListEntry details_behind(xmlNode* link, const xmlNode* root) {
  constexpr std::size_t kMaxText = 1024;
  ListEntry entry;
  std::string text;
  xmlNode* node = next_outside(link, root);
  for (; node != nullptr && text.size() < kMaxText; node = next_node(node, root)) {
    if (is_element(node, "a") || is_element(node, "tr")) break;
    append_text(text, node);
    if (is_element(node, "td") && !entry.size)
      entry.size = parse_size(attribute(node, "data-order"));
    if (is_element(node, "time")) entry.modified_s = parse_iso_time(attribute(node, "datetime"));
  }
  const IndexDetails details = parse_index_details(text);
  if (!entry.modified_s) entry.modified_s = details.modified_s;
  if (!entry.size) entry.size = details.size;
  return entry;
}

class HtmlIndex {
 public:
  explicit HtmlIndex(const IndexSource& source)
      : base_url_(source.base_url), base_(resolve_link(source.base_url, source.base_url)) {
    if (base_) base_path_ = canonical_path(base_->path).value_or("");
  }

  void take_link(xmlNode* link, const xmlNode* root) {
    const std::string reference = attribute(link, "href");
    if (reference.empty() || reference.front() == '?' || reference.front() == '#' || !base_) return;
    const auto target = resolve_link(base_url_, reference);
    if (!target || target->has_query || target->origin != base_->origin) return;
    const auto path = canonical_path(target->path);
    if (!path || path->size() <= base_path_.size() ||
        path->compare(0, base_path_.size(), base_path_) != 0)
      return;
    std::string segment = path->substr(base_path_.size());
    const bool is_directory = segment.back() == '/';
    if (is_directory) segment.pop_back();
    if (segment.find('/') != std::string::npos) return;  // a grandchild
    ListEntry entry = details_behind(link, root);
    entry.is_directory = is_directory;
    if (is_directory) entry.size.reset();
    collector_.add(*decode_segment(segment), std::move(entry));
  }

  IndexPage take() { return collector_.take(); }

 private:
  const std::string base_url_;
  const std::optional<ResolvedLink> base_;
  std::string base_path_;  ///< ends in '/'
  IndexCollector collector_;
};

}  // namespace

Result<IndexPage> parse_html_index(const IndexSource& source) {
  if (source.body.size() > INT_MAX)
    return Error{ErrorCode::kUnsupported, "the server's index page is too long"};
  const Document document(
      htmlReadMemory(
          source.body.data(), static_cast<int>(source.body.size()), nullptr, "UTF-8",
          HTML_PARSE_NONET | HTML_PARSE_NOERROR | HTML_PARSE_NOWARNING | HTML_PARSE_RECOVER),
      xmlFreeDoc);
  xmlNode* root = document ? xmlDocGetRootElement(document.get()) : nullptr;
  if (root == nullptr)
    return Error{ErrorCode::kOriginFailed, "the server's index page cannot be read"};
  HtmlIndex index(source);
  for (xmlNode* node = root; node != nullptr; node = next_node(node, root))
    if (is_element(node, "a")) index.take_link(node, root);
  return index.take();
}

}  // namespace rangecache::fetcher
