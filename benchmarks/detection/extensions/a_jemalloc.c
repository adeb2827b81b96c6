#include <jemalloc/jemalloc.h>
#define TAKE(size) mallocx(size, 0)
#define GIVE_BACK(pointer) dallocx(pointer, 0)
#define NAME a_jemalloc
#include "allocator.h"
