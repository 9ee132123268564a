#pragma once

/// libfuse's low-level API, in the one version that this part is written for.
#define FUSE_USE_VERSION 312
#include <fuse_lowlevel.h>
