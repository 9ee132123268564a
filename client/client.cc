#include "rangecache/client.h"

#include "base/messages.h"
#include "client/connection.h"
#include "client/file_impl.h"

namespace rangecache {
namespace {

using protocol::MessageType;

std::string text(std::string_view value) {
  wire::Writer out;
  out.string(value);
  return out.take();
}

Error malformed() {
  return Error{ErrorCode::kProtocol, "the daemon sent a reply that cannot be understood"};
}

template <typename Get>
auto ask(client::Connection& connection, MessageType type, std::string payload, Get get)
    -> Result<decltype(get(std::declval<wire::Reader&>()))> {
  RC_ASSIGN(client::Reply reply, connection.call(type, std::move(payload)));
  wire::Reader in(reply.payload);
  auto value = get(in);
  if (!in.complete()) return malformed();
  return value;
}

}  // namespace

Result<Client> Client::connect(const Options& options) {
  const std::string path =
      options.socket_path.empty() ? default_socket_path() : options.socket_path;
  RC_ASSIGN(auto connection, client::Connection::open(path, options.connect_timeout));
  const auto leases = std::make_shared<client::LeaseKeeper>(
      options.max_lease_descriptors.value_or(client::LeaseKeeper::default_max_descriptors()),
      options.lease_term);
  connection->set_housekeeping([leases] { return leases->expire(); });
  return Client(std::move(connection), leases);
}

Client::Client(std::shared_ptr<client::Connection> connection,
               std::shared_ptr<client::LeaseKeeper> leases)
    : connection_(std::move(connection)), leases_(std::move(leases)) {}
Client::Client(Client&&) noexcept = default;
Client& Client::operator=(Client&& other) noexcept {
  if (connection_ && connection_ != other.connection_) connection_->close();
  connection_ = std::move(other.connection_);
  leases_ = std::move(other.leases_);
  return *this;
}
Client::~Client() {
  if (connection_) connection_->close();
}

Result<File> Client::open(std::string_view url) const {
  auto impl = std::make_shared<File::Impl>();
  RC_ASSIGN(const client::Reply reply, connection_->call(MessageType::kOpen, text(url)));
  wire::Reader in(reply.payload);
  impl->handle = in.u64();
  impl->info = wire::get_object_info(in);
  if (!in.complete()) return malformed();
  impl->connection = connection_;
  impl->leases = std::make_shared<client::KeptLeases>(connection_, leases_, impl->handle);
  return File(std::move(impl));
}

Result<ObjectInfo> Client::stat(std::string_view url) const {
  return ask(*connection_, MessageType::kStat, text(url), wire::get_object_info);
}

Result<std::vector<DirectoryEntry>> Client::list(std::string_view url) const {
  return ask(*connection_, MessageType::kList, text(url), wire::get_directory);
}

Result<Client::DaemonInfo> Client::ping() const {
  return ask(*connection_, MessageType::kPing, {}, [](wire::Reader& in) {
    DaemonInfo info;
    info.pid = in.u32();
    info.version = in.string();
    return info;
  });
}

Result<std::string> Client::stats_json() const {
  RC_ASSIGN(client::Reply reply, connection_->call(MessageType::kStats, {}));
  return std::move(reply.payload);
}

Result<std::string> Client::prometheus_text() const {
  RC_ASSIGN(client::Reply reply, connection_->call(MessageType::kMetrics, {}));
  return std::move(reply.payload);
}

Result<std::vector<CachedObject>> Client::cached(std::string_view url_prefix) const {
  return ask(*connection_, MessageType::kCached, text(url_prefix), wire::get_cached_objects);
}

Result<ObjectMap> Client::map(std::string_view url) const {
  return ask(*connection_, MessageType::kMap, text(url), wire::get_object_map);
}

Result<EvictResult> Client::evict(std::string_view url_prefix) const {
  return ask(*connection_, MessageType::kEvict, text(url_prefix), wire::get_evict_result);
}

Result<RefreshResult> Client::refresh(std::string_view url_prefix) const {
  return ask(*connection_, MessageType::kRefresh, text(url_prefix), wire::get_refresh_result);
}

Result<void> Client::pin(std::string_view url_prefix, std::string_view owner,
                         std::int64_t expires_s) const {
  wire::Writer request;
  request.string(url_prefix);
  request.string(owner);
  request.i64(expires_s);
  RC_TRY(connection_->call(MessageType::kPin, request.take()));
  return {};
}

Result<std::uint64_t> Client::unpin(std::string_view url_prefix, std::string_view owner) const {
  return ask(*connection_, MessageType::kUnpin, text(url_prefix) + text(owner),
             [](wire::Reader& in) { return in.u64(); });
}

Result<std::vector<PinInfo>> Client::pins() const {
  return ask(*connection_, MessageType::kPins, {}, wire::get_pins);
}

Result<VerifyPart> Client::verify(std::string_view url_prefix, bool repair,
                                  std::string_view cursor) const {
  wire::Writer request;
  request.string(url_prefix);
  request.u8(repair ? 1 : 0);
  request.string(cursor);
  return ask(*connection_, MessageType::kVerify, request.take(), wire::get_verify_part);
}

Result<MountInfo> Client::mount(std::string_view url, std::string_view mountpoint) const {
  return ask(*connection_, MessageType::kMount, text(url) + text(mountpoint), wire::get_mount_info);
}

Result<MountInfo> Client::unmount(std::string_view mountpoint) const {
  return ask(*connection_, MessageType::kUnmount, text(mountpoint), wire::get_mount_info);
}

Result<void> Client::shutdown() const {
  RC_TRY(connection_->call(MessageType::kShutdown, {}));
  return {};
}

}  // namespace rangecache
