#define PY_SSIZE_T_CLEAN
#include <Python.h>
#include <stdlib.h>
#include <string.h>
#define MODULE(NAME, METHODS) MODULE_(NAME, METHODS)
#define MODULE_(NAME, METHODS)                                                            \
    static struct PyModuleDef d_##NAME = {PyModuleDef_HEAD_INIT, #NAME, "", -1, METHODS}; \
    PyMODINIT_FUNC PyInit_##NAME(void) { return PyModule_Create(&d_##NAME); }
static Py_ssize_t size_of(PyObject* o) { return PyLong_AsSsize_t(o); }
