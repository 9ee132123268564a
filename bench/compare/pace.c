/* Preloaded into nginx: gives accepted connections a rate, by local port: PACE="port:bytes_a_second,...".
 *
 * nginx's own limit_rate counts whole seconds from the request's begin, so that what is shorter than a second's
 * worth is not limited at all. The kernel's pacing (tcp(7), SO_MAX_PACING_RATE) holds from the first packet, on
 * loopback, too. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <netinet/in.h>
#include <stdlib.h>
#include <sys/socket.h>

static unsigned rate_of(int port) {
  const char *at = getenv("PACE");
  while (at && *at) {
    char *end;
    const long candidate = strtol(at, &end, 10);
    if (*end != ':') break;
    const unsigned long rate = strtoul(end + 1, &end, 10);
    if (candidate == port) return (unsigned)rate;
    at = *end == ',' ? end + 1 : end;
  }
  return 0;
}

int accept4(int listener, struct sockaddr *address, socklen_t *length, int flags) {
  static int (*next)(int, struct sockaddr *, socklen_t *, int);
  if (!next) next = (int (*)(int, struct sockaddr *, socklen_t *, int))dlsym(RTLD_NEXT, "accept4");
  const int fd = next(listener, address, length, flags);
  struct sockaddr_in local;
  socklen_t size = sizeof local;
  if (fd < 0 || getsockname(fd, (struct sockaddr *)&local, &size) != 0 || local.sin_family != AF_INET)
    return fd;
  const unsigned rate = rate_of(ntohs(local.sin_port));
  if (rate > 0) setsockopt(fd, SOL_SOCKET, SO_MAX_PACING_RATE, &rate, sizeof rate);
  return fd;
}
