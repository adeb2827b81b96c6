/* Faults in functions with the names that Rust gives to its own: symbols without debug information. */
#include <Python.h>
#include <stdlib.h>
#include <string.h>

__attribute__((noinline)) static char *grow_table(size_t size) __asm__(
    "_RNvMs_NtCsiTXBmTXH8yU_5table5innerNtB4_5Table4grow");
__attribute__((noinline)) static char *grow_table(size_t size) {
    char *table = malloc(size);
    memset(table, 4, size);
    return table;
}
__attribute__((noinline)) static char *grow_legacy(size_t size) __asm__(
    "_ZN5table5inner5Table7reserve17h0123456789abcdefE");
__attribute__((noinline)) static char *grow_legacy(size_t size) {
    char *table = malloc(size);
    memset(table, 5, size);
    return table;
}
static PyObject *table_v0(PyObject *module, PyObject *size) {
    grow_table(PyLong_AsSize_t(size));
    Py_RETURN_NONE;
}
static PyObject *table_legacy(PyObject *module, PyObject *size) {
    grow_legacy(PyLong_AsSize_t(size));
    Py_RETURN_NONE;
}

static PyMethodDef functions[] = {
    {"table_v0", table_v0, METH_O, NULL}, {"table_legacy", table_legacy, METH_O, NULL}, {NULL, NULL, 0, NULL}};
static struct PyModuleDef definition = {PyModuleDef_HEAD_INIT, .m_name = "planted_rust", .m_methods = functions};
PyMODINIT_FUNC PyInit_planted_rust(void) { return PyModule_Create(&definition); }
