#define _GNU_SOURCE
#include <sys/mman.h>

#include "common.h"
static char* arena;
static size_t used;
__attribute__((noinline)) static void* arena_alloc(size_t n) {
    void* p = arena + used;
    used += (n + 15) & ~15;
    memset(p, 1, n);
    return p;
}
static PyObject* reserved(PyObject* s, PyObject* o) {
    arena_alloc(size_of(o));
    Py_RETURN_NONE;
}
static PyMethodDef m[] = {{"reserved", reserved, METH_O, ""}, {0}};
static struct PyModuleDef d = {PyModuleDef_HEAD_INIT, "a_arena", "", -1, m};
PyMODINIT_FUNC PyInit_a_arena(void) {
    arena = mmap(0, (size_t)512 << 20, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE,
                 -1, 0);
    return PyModule_Create(&d);
}
