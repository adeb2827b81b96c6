#include <stdlib.h>
#include <string.h>
void* lib_leak(size_t n) {
    void* p = malloc(n);
    memset(p, 1, n);
    return p;
}
