#ifndef RANGECACHE_C_API_H
#define RANGECACHE_C_API_H

/* The C client of rangecached (C99). The same rules as in rangecache/client.h: everything is
 * thread-safe; callbacks run on the client's own thread and must not block. */

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef struct rc_client rc_client;
typedef struct rc_file rc_file;

/* Why a call failed. Every function that can fail takes one, which may be NULL, and fills it only
 * on failure. */
typedef struct rc_error {
  int code;          /* rangecache::ErrorCode, e.g. 2: not found */
  int posix_errno;   /* the errno that says it best, e.g. ENOENT */
  char message[480]; /* for people; ends in NUL */
} rc_error;

/* Connects to the daemon at `socket_path`; NULL: the default (RANGECACHE_SOCKET or the user's
 * runtime directory). NULL on failure. */
rc_client* rc_connect(const char* socket_path, rc_error* error);
/* Fails what is outstanding and frees the client. Not from within a callback. NULL is ignored.
 * Files that are still open remain valid, but their reads fail. */
void rc_disconnect(rc_client* client);

/* Opens one version of a remote file. NULL on failure. */
rc_file* rc_open(rc_client* client, const char* url, rc_error* error);
/* NULL is ignored. Reads under way go on. */
void rc_close(rc_file* file);

uint64_t rc_size(const rc_file* file);
/* The validator as the origin wrote it, "" if none; lives as long as the file. */
const char* rc_validator(const rc_file* file);

/* Reads up to `size` bytes at `offset`; fewer only at end of file. -1 on failure. */
int64_t rc_read(rc_file* file, uint64_t offset, void* buffer, size_t size, rc_error* error);

/* `bytes_read` is -1 on failure, and then `error` says why; it is valid during the call. */
typedef void (*rc_read_done)(void* context, int64_t bytes_read, const rc_error* error);
/* Reads without waiting. `buffer` must live until `done` was called, exactly once. */
void rc_read_async(rc_file* file, uint64_t offset, void* buffer, size_t size, rc_read_done done,
                   void* context);

#ifdef __cplusplus
}
#endif

#endif /* RANGECACHE_C_API_H */
