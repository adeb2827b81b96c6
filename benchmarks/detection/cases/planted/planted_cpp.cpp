/* What C++ makes of the same faults: containers of its own, and blocks that an exception passes over. */
#include <Python.h>
#include <map>
#include <stdexcept>
#include <string>
#include <vector>

namespace {
std::vector<PyObject *> kept;
std::map<long, std::string> seen;
long count;

struct Document {
    std::vector<std::string> lines;
};

void validate(const char *text) {
    if (std::string(text).find('!') != std::string::npos) throw std::runtime_error("a ! where none may be");
}
PyObject *keep(PyObject *, PyObject *value) {
    kept.push_back(Py_NewRef(value));
    Py_RETURN_NONE;
}
PyObject *note(PyObject *, PyObject *value) {
    seen.emplace(count++, std::string(200, 'x'));
    Py_RETURN_NONE;
}
PyObject *load(PyObject *, PyObject *text) {
    auto *document = new Document{{std::string(500, 'y'), std::string(700, 'z')}};
    try {
        validate(PyUnicode_AsUTF8(text));
    } catch (const std::exception &error) {
        PyErr_SetString(PyExc_ValueError, error.what());
        return nullptr; /* the document is lost */
    }
    delete document;
    Py_RETURN_NONE;
}
PyMethodDef functions[] = {{"keep", keep, METH_O, nullptr}, {"note", note, METH_O, nullptr},
    {"load", load, METH_O, nullptr}, {nullptr, nullptr, 0, nullptr}};
PyModuleDef definition = {PyModuleDef_HEAD_INIT, "planted_cpp", nullptr, -1, functions};
}  // namespace

PyMODINIT_FUNC PyInit_planted_cpp() { return PyModule_Create(&definition); }
