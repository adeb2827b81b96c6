#include <gperftools/tcmalloc.h>
#define TAKE(size) tc_malloc(size)
#define GIVE_BACK(pointer) tc_free(pointer)
#define NAME a_tcmalloc
#include "allocator.h"
