/* Prints a range of a remote file: read_range_c URL OFFSET LENGTH */
#include <inttypes.h>
#include <rangecache/c_api.h>
#include <stdio.h>
#include <stdlib.h>

int main(int argc, char** argv) {
  rc_error error;
  if (argc != 4) {
    fprintf(stderr, "usage: %s URL OFFSET LENGTH\n", argv[0]);
    return 2;
  }
  rc_client* client = rc_connect(NULL, &error);
  if (!client) {
    fprintf(stderr, "%s\n", error.message);
    return 1;
  }
  rc_file* file = rc_open(client, argv[1], &error);
  if (!file) {
    fprintf(stderr, "%s\n", error.message);
    rc_disconnect(client);
    return 1;
  }
  const size_t length = (size_t)strtoull(argv[3], NULL, 10);
  char* buffer = malloc(length ? length : 1);
  const int64_t got =
      buffer ? rc_read(file, strtoull(argv[2], NULL, 10), buffer, length, &error) : -1;
  if (got < 0) {
    fprintf(stderr, "%s\n", buffer ? error.message : "out of memory");
  } else {
    fwrite(buffer, 1, (size_t)got, stdout);
  }
  free(buffer);
  rc_close(file);
  rc_disconnect(client);
  return got < 0 ? 1 : 0;
}
