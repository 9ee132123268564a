#include "rangecache/c_api.h"

#include <algorithm>
#include <cstring>
#include <new>

#include "rangecache/client.h"

struct rc_client {
  rangecache::Client client;
};
struct rc_file {
  rangecache::File file;
};

namespace {

using rangecache::Error;
using rangecache::ErrorCode;

void fill(rc_error* out, const Error& error) {
  if (!out) return;
  out->code = static_cast<int>(error.code);
  out->posix_errno = rangecache::to_errno(error.code);
  const std::string message = error.message();
  const std::size_t length = std::min(message.size(), sizeof out->message - 1);
  std::memcpy(out->message, message.data(), length);
  out->message[length] = '\0';
}

// No exception may reach C: the only one to expect is a lack of memory.
template <typename T, typename Body>
T guarded(rc_error* error, T failed, Body body) {
  try {
    return body();
  } catch (const std::exception& e) {
    fill(error, Error{ErrorCode::kInternal, e.what()});
    return failed;
  }
}

}  // namespace

extern "C" {

rc_client* rc_connect(const char* socket_path, rc_error* error) {
  return guarded<rc_client*>(error, nullptr, [&]() -> rc_client* {
    rangecache::Client::Options options;
    if (socket_path) options.socket_path = socket_path;
    auto client = rangecache::Client::connect(options);
    if (client) return new rc_client{std::move(*client)};
    fill(error, client.error());
    return nullptr;
  });
}

void rc_disconnect(rc_client* client) { delete client; }

rc_file* rc_open(rc_client* client, const char* url, rc_error* error) {
  return guarded<rc_file*>(error, nullptr, [&]() -> rc_file* {
    auto file = client->client.open(url);
    if (file) return new rc_file{std::move(*file)};
    fill(error, file.error());
    return nullptr;
  });
}

void rc_close(rc_file* file) { delete file; }

uint64_t rc_size(const rc_file* file) { return file->file.size(); }

const char* rc_validator(const rc_file* file) { return file->file.validator().c_str(); }

int64_t rc_read(rc_file* file, uint64_t offset, void* buffer, size_t size, rc_error* error) {
  return guarded<int64_t>(error, -1, [&]() -> int64_t {
    const auto got = file->file.read(offset, {static_cast<std::byte*>(buffer), size});
    if (got) return static_cast<int64_t>(*got);
    fill(error, got.error());
    return -1;
  });
}

void rc_read_async(rc_file* file, uint64_t offset, void* buffer, size_t size, rc_read_done done,
                   void* context) {
  file->file.read_async(offset, {static_cast<std::byte*>(buffer), size},
                        [done, context](rangecache::Result<std::size_t> got) {
                          if (got) {
                            done(context, static_cast<int64_t>(*got), nullptr);
                            return;
                          }
                          rc_error error;
                          fill(&error, got.error());
                          done(context, -1, &error);
                        });
}

}  // extern "C"
