#define PY_SSIZE_T_CLEAN
#include <Python.h>

#include <map>
#include <memory>
#include <string>
#include <thread>
#include <unordered_map>
#include <vector>
static std::unordered_map<std::string, std::vector<int>> registry;
static std::vector<std::unique_ptr<std::string>> log_;
thread_local std::vector<std::string> per_thread;
struct Node {
    std::shared_ptr<Node> other;
    char pad[40];
};
static PyObject* reg(PyObject*, PyObject* o) {
    registry[PyUnicode_AsUTF8(o)].push_back(1);
    Py_RETURN_NONE;
}
static PyObject* reg_same(PyObject*, PyObject* o) {
    registry["one"].push_back(1);
    Py_RETURN_NONE;
}
static PyObject* logline(PyObject*, PyObject* o) {
    log_.emplace_back(new std::string(PyUnicode_AsUTF8(o)));
    Py_RETURN_NONE;
}
static PyObject* thread_local_(PyObject*, PyObject* o) {
    per_thread.push_back("a string that is long enough to be on the heap");
    Py_RETURN_NONE;
}
static PyObject* cycle(PyObject*, PyObject* o) {
    auto a = std::make_shared<Node>();
    auto b = std::make_shared<Node>();
    a->other = b;
    b->other = a;
    Py_RETURN_NONE;
}
static PyObject* exc(PyObject*, PyObject* o) {
    try {
        char* p = new char[77];
        p[0] = 1;
        throw std::string("x");
    } catch (std::string&) {
    }
    Py_RETURN_NONE;
}
static PyObject* detached(PyObject*, PyObject* o) {
    Py_BEGIN_ALLOW_THREADS std::thread t([] { new int[25]; });
    t.join();
    Py_END_ALLOW_THREADS Py_RETURN_NONE;
}
static PyMethodDef m[] = {{"reg", reg, METH_O, ""},
                          {"reg_same", reg_same, METH_NOARGS, ""},
                          {"logline", logline, METH_O, ""},
                          {"thread_local_", thread_local_, METH_NOARGS, ""},
                          {"cycle", cycle, METH_NOARGS, ""},
                          {"exc", exc, METH_NOARGS, ""},
                          {"detached", detached, METH_NOARGS, ""},
                          {0}};
static struct PyModuleDef d = {PyModuleDef_HEAD_INIT, "a_cpp", "", -1, m};
PyMODINIT_FUNC PyInit_a_cpp(void) { return PyModule_Create(&d); }
