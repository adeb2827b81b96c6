// A `with` block whose two halves are the two halves of a generator, as contextlib makes them, but entered
// and left by native code.
//
// A signal's handler runs between two steps of Python code, and what it raises there ends them. Python's own
// `__exit__` has such a moment before its first step: the generator is not gone on with then, and what it
// holds stays held for as long as somebody keeps the exception. Here the first step that can be interrupted
// is the generator's own, in its `try`.
//
// As in delivery.hpp, a thread may be ended inside these functions when the interpreter exits: so none is
// noexcept or has an object with a destructor while Python code runs.
#pragma once

#include <Python.h>

#include <cstddef>

#include "delivery.hpp"

namespace elkyn {

struct TransactionScope {
    PyObject ob_base;
    PyObject* steps;
};
static_assert(offsetof(TransactionScope, ob_base) == 0, "Python sees the object by its head");

inline PyObject* scope_new(PyTypeObject* type, PyObject* args, PyObject* kwargs) {
    PyObject* steps = nullptr;
    if (kwargs != nullptr || !PyArg_ParseTuple(args, "O:TransactionScope", &steps)) {
        if (PyErr_Occurred() == nullptr)
            PyErr_SetString(PyExc_TypeError, "TransactionScope() takes a generator");
        return nullptr;
    }
    if (!PyGen_CheckExact(steps)) {
        PyErr_SetString(PyExc_TypeError, "TransactionScope() takes a generator");
        return nullptr;
    }
    PyObject* self = type->tp_alloc(type, 0);
    if (self != nullptr) reinterpret_cast<TransactionScope*>(self)->steps = Py_NewRef(steps);
    return self;
}

inline int scope_traverse(PyObject* self, visitproc visit, void* arg) {
    Py_VISIT(Py_TYPE(self));
    Py_VISIT(reinterpret_cast<TransactionScope*>(self)->steps);
    return 0;
}

inline int scope_clear(PyObject* self) {
    Py_CLEAR(reinterpret_cast<TransactionScope*>(self)->steps);
    return 0;
}

inline void scope_dealloc(PyObject* self) {
    PyTypeObject* type = Py_TYPE(self);
    PyObject_GC_UnTrack(self);
    scope_clear(self);
    type->tp_free(self);
    Py_DECREF(type);
}

inline PyObject* scope_enter(PyObject* self, PyObject* /*unused*/) {
    PyObject* entered = PyIter_Next(reinterpret_cast<TransactionScope*>(self)->steps);
    if (entered == nullptr && PyErr_Occurred() == nullptr)
        PyErr_SetString(PyExc_RuntimeError, "the generator of a block did not yield");
    return entered;
}

// Whether `error`, which has come out of the generator, is `thrown`: itself, or as what generators make of a
// StopIteration that passes through them.
inline bool is_thrown(PyObject* error, PyObject* thrown) {
    if (error == thrown) return true;
    if (!PyErr_GivenExceptionMatches(thrown, PyExc_StopIteration)) return false;
    PyObject* cause = PyException_GetCause(error);
    Py_XDECREF(cause);
    return cause == thrown;
}

// __exit__(type, error, traceback): True where the generator has swallowed the error.
inline PyObject* scope_exit(PyObject* self, PyObject* const* args, Py_ssize_t nargs) {
    if (nargs != 3) {
        PyErr_SetString(PyExc_TypeError, "__exit__() takes a type, an error and a traceback");
        return nullptr;
    }
    PyObject* steps = reinterpret_cast<TransactionScope*>(self)->steps;
    PyObject* thrown = args[1];
    PyObject* more =
        thrown == Py_None ? PyIter_Next(steps) : PyObject_CallMethod(steps, "throw", "O", thrown);
    if (more != nullptr) {
        Py_DECREF(more);
        PyErr_SetString(PyExc_RuntimeError, "the generator of a block did not stop");
        return nullptr;
    }
    if (thrown == Py_None) return PyErr_Occurred() == nullptr ? Py_NewRef(Py_False) : nullptr;
    if (PyErr_ExceptionMatches(PyExc_StopIteration)) {
        PyErr_Clear();
        return Py_NewRef(Py_True);
    }
    PyObject* error = take_error();
    if (!is_thrown(error, thrown)) {
        PyErr_SetObject(reinterpret_cast<PyObject*>(Py_TYPE(error)), error);
        Py_DECREF(error);
        return nullptr;
    }
    Py_DECREF(error);
    // As the block has left it: without the generator's lines.
    if (PyException_SetTraceback(thrown, args[2]) < 0) return nullptr;
    return Py_NewRef(Py_False);
}

inline PyMethodDef scope_methods[] = {
    {"__enter__", scope_enter, METH_NOARGS, "Goes to the generator's yield and returns what it yields."},
    {"__exit__", reinterpret_cast<PyCFunction>(reinterpret_cast<void (*)()>(scope_exit)), METH_FASTCALL,
     "Goes on with the generator, at its yield with the error where the block has raised one."},
    {nullptr, nullptr, 0, nullptr}};

inline PyType_Slot scope_slots[] = {
    {Py_tp_doc,
     const_cast<char*>("A `with` block made of a generator; no signal's handler can come between.")},
    {Py_tp_new, reinterpret_cast<void*>(scope_new)},
    {Py_tp_dealloc, reinterpret_cast<void*>(scope_dealloc)},
    {Py_tp_traverse, reinterpret_cast<void*>(scope_traverse)},
    {Py_tp_clear, reinterpret_cast<void*>(scope_clear)},
    {Py_tp_methods, scope_methods},
    {0, nullptr}};

inline PyType_Spec scope_spec{"elkyn._native.TransactionScope", sizeof(TransactionScope), 0,
                              Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_GC, scope_slots};

}  // namespace elkyn
