#include <mimalloc.h>
#define TAKE(size) mi_malloc(size)
#define GIVE_BACK(pointer) mi_free(pointer)
#define NAME a_mimalloc
#include "allocator.h"
