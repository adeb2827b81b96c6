/* `leak` and `churn` by an allocator: TAKE and GIVE_BACK are its functions, NAME is the module. */
#include "common.h"

__attribute__((noinline)) void* inner_alloc(size_t n) {
    void* p = TAKE(n);
    memset(p, 1, n);
    return p;
}
static PyObject* leak(PyObject* s, PyObject* o) {
    Py_ssize_t n = size_of(o);
    if (n < 0) return NULL;
    inner_alloc(n);
    Py_RETURN_NONE;
}
static PyObject* churn(PyObject* s, PyObject* o) {
    Py_ssize_t n = size_of(o);
    if (n < 0) return NULL;
    void* p[64];
    for (int i = 0; i < 64; i++) p[i] = inner_alloc(n);
    for (int i = 0; i < 64; i++) GIVE_BACK(p[i]);
    Py_RETURN_NONE;
}
static PyMethodDef methods[] = {{"leak", leak, METH_O, ""}, {"churn", churn, METH_O, ""}, {0}};
MODULE(NAME, methods)
