#include "base/check.h"

#include <cstdio>
#include <cstdlib>

namespace rangecache {

void check_failed(const char* expression, const char* file, int line) {
  std::fprintf(stderr, "%s:%d: this is a bug: CHECK(%s) failed\n", file, line, expression);
  std::abort();
}

}  // namespace rangecache
