/* Counts of references in C, wrong and right: what each function does with them is all that it does. */
#include <Python.h>
#include <stddef.h>
#include <structmember.h>

/* Wrong: no memory is lost, for what is counted outlives the call. */
static PyObject *get(PyObject *module, PyObject *args) {
    PyObject *table, *key;
    if (!PyArg_ParseTuple(args, "OO", &table, &key)) return NULL;
    PyObject *value = PyDict_GetItem(table, key); /* borrowed */
    Py_XINCREF(value);                            /* for the caller */
    Py_XINCREF(value);                            /* for nobody */
    return value;
}
static PyObject *put(PyObject *module, PyObject *args) {
    PyObject *table, *key;
    if (!PyArg_ParseTuple(args, "OO", &table, &key)) return NULL;
    PyDict_SetItem(table, Py_NewRef(key), Py_None); /* which takes its own */
    Py_RETURN_NONE;
}
static PyObject *replace(PyObject *module, PyObject *args) {
    PyObject *list, *value;
    if (!PyArg_ParseTuple(args, "OO", &list, &value)) return NULL;
    Py_INCREF(value); /* for the list, which takes this one */
    Py_INCREF(value); /* for nobody */
    PyList_SetItem(list, 0, value);
    Py_RETURN_NONE;
}
static PyObject *imported(PyObject *module, PyObject *name) {
    PyImport_Import(name); /* never given back */
    Py_RETURN_NONE;
}
static PyObject *attribute(PyObject *module, PyObject *args) {
    PyObject *owner, *name;
    if (!PyArg_ParseTuple(args, "OO", &owner, &name)) return NULL;
    return PyBool_FromLong(PyObject_GetAttr(owner, name) != NULL); /* never given back */
}
static PyObject *callback;
static PyObject *on_event(PyObject *module, PyObject *function) {
    callback = Py_NewRef(function); /* what was there is not given back */
    Py_RETURN_NONE;
}
static PyObject *built(PyObject *module, PyObject *value) {
    Py_INCREF(value);                  /* which "O" does, and "N" does not */
    return Py_BuildValue("(O)", value);
}

/* Wrong only where memory is short: what was taken before the allocation that fails is not given back. */
static PyObject *buffered(PyObject *module, PyObject *value) {
    char *buffer = PyMem_RawMalloc(500);
    if (!buffer) return PyErr_NoMemory();
    PyObject *made = PyTuple_New(40);
    if (!made) return NULL; /* and the buffer? */
    PyMem_RawFree(buffer);
    Py_DECREF(made);
    Py_RETURN_NONE;
}
static PyObject *pinned(PyObject *module, PyObject *value) {
    Py_INCREF(value);
    PyObject *made = PyTuple_New(40);
    if (!made) return NULL; /* and the reference? */
    Py_DECREF(made);
    Py_DECREF(value);
    Py_RETURN_NONE;
}
static PyObject *listed(PyObject *module, PyObject *value) {
    PyObject *list = PyList_New(0);
    if (!list) return NULL;
    PyObject *item = PyBytes_FromStringAndSize(NULL, 300);
    if (!item) {
        Py_DECREF(list);
        return NULL;
    }
    if (PyList_Append(list, item)) return NULL; /* and the list, and the item? */
    Py_DECREF(item);
    return list;
}
static PyObject *hidden(PyObject *module, PyObject *value) {
    PyObject *made = PyBytes_FromStringAndSize(NULL, 300);
    PyObject *copy = PyTuple_New(40);
    PyErr_Clear(); /* whatever it was */
    if (copy) {
        Py_XDECREF(made); /* but where there is none? */
        Py_DECREF(copy);
    }
    Py_RETURN_NONE;
}

/* Right. */
static PyObject *careful(PyObject *module, PyObject *value) {
    char *buffer = PyMem_RawMalloc(500);
    PyObject *made = PyTuple_New(40), *list = PyList_New(0), *item = PyBytes_FromStringAndSize(NULL, 300);
    int right = buffer && made && list && item && !PyList_Append(list, item);
    PyMem_RawFree(buffer);
    Py_XDECREF(made);
    Py_XDECREF(list);
    Py_XDECREF(item);
    if (!right) return PyErr_NoMemory();
    Py_RETURN_NONE;
}
static PyObject *once(PyObject *module, PyObject *value) {
    static PyObject *table;
    if (!table && !(table = PyDict_New())) return NULL; /* made at the first call that can */
    PyObject *key = PyLong_FromLong(1000 + PyObject_IsTrue(value));
    int failed = !key || PyDict_SetItem(table, key, Py_None);
    Py_XDECREF(key);
    if (failed) return NULL;
    Py_RETURN_NONE;
}
static PyObject *hold(PyObject *module, PyObject *value) {
    return Py_NewRef(Py_NewRef(value)); /* until `drop` */
}
static PyObject *drop(PyObject *module, PyObject *value) {
    Py_DECREF(value);
    Py_RETURN_NONE;
}
static PyObject *borrow(PyObject *module, PyObject *value) {
    Py_INCREF(value);
    int known = PyObject_IsTrue(value);
    Py_DECREF(value);
    return PyBool_FromLong(known);
}
static PyObject *interned(PyObject *module, PyObject *unused) {
    return PyUnicode_InternFromString("a name that C interns");
}
static PyObject *singleton(PyObject *module, PyObject *unused) {
    static PyObject *made;
    if (!made) made = PyList_New(0);
    return Py_NewRef(made);
}
static PyObject *remembered(PyObject *module, PyObject *value) {
    static PyObject *last;
    Py_XSETREF(last, Py_NewRef(value));
    Py_RETURN_NONE;
}
static PyObject *pooled(PyObject *module, PyObject *value) {
    static PyObject *pool[64];
    static size_t next;
    PyObject *old = pool[next % 64];
    pool[next++ % 64] = Py_NewRef(value);
    Py_XDECREF(old);
    Py_RETURN_NONE;
}
static PyObject *of_type(PyObject *module, PyObject *value) {
    static PyObject *types;
    if (!types) types = PyDict_New();
    if (PyDict_SetItem(types, (PyObject *)Py_TYPE(value), Py_True)) return NULL;
    return PyLong_FromSsize_t(PyDict_GET_SIZE(types));
}
static PyObject *watched(PyObject *module, PyObject *value) {
    static PyObject *weak;
    Py_XSETREF(weak, PyWeakref_NewRef(value, NULL));
    Py_RETURN_NONE;
}
static PyObject *checked(PyObject *module, PyObject *value) {
    Py_INCREF(value);
    if (!PyLong_Check(value)) {
        Py_DECREF(value);
        PyErr_SetString(PyExc_TypeError, "a number is needed");
        return NULL;
    }
    return value;
}

/* Its instances, when they end, keep their reference to the type: a fault that costs nothing as long as that stays. */
typedef struct {
    PyObject_HEAD
    PyObject *next;
} Term;
static PyMemberDef term_members[] = {{"next", T_OBJECT, offsetof(Term, next), 0, NULL}, {NULL}};
static int traverse(PyObject *self, visitproc visit, void *arg) {
    Py_VISIT(Py_TYPE(self));
    Py_VISIT(((Term *)self)->next);
    return 0;
}
static int clear(PyObject *self) {
    Py_CLEAR(((Term *)self)->next);
    return 0;
}
static void dealloc(PyObject *self) {
    PyObject_GC_UnTrack(self);
    clear(self);
    Py_TYPE(self)->tp_free(self);
}
static PyType_Slot term_slots[] = {{Py_tp_new, PyType_GenericNew}, {Py_tp_dealloc, dealloc}, {Py_tp_traverse, traverse},
                                   {Py_tp_clear, clear}, {Py_tp_members, term_members}, {0, NULL}};
static PyType_Spec term_spec = {"counted.Term", sizeof(Term), 0, Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_GC, term_slots};

static PyMethodDef functions[] = {
    {"get", get, METH_VARARGS, NULL}, {"put", put, METH_VARARGS, NULL}, {"replace", replace, METH_VARARGS, NULL},
    {"imported", imported, METH_O, NULL}, {"attribute", attribute, METH_VARARGS, NULL},
    {"on_event", on_event, METH_O, NULL}, {"built", built, METH_O, NULL}, {"hold", hold, METH_O, NULL},
    {"drop", drop, METH_O, NULL}, {"borrow", borrow, METH_O, NULL}, {"interned", interned, METH_NOARGS, NULL},
    {"singleton", singleton, METH_NOARGS, NULL}, {"remembered", remembered, METH_O, NULL},
    {"pooled", pooled, METH_O, NULL}, {"of_type", of_type, METH_O, NULL}, {"watched", watched, METH_O, NULL},
    {"checked", checked, METH_O, NULL}, {"buffered", buffered, METH_O, NULL}, {"pinned", pinned, METH_O, NULL},
    {"listed", listed, METH_O, NULL}, {"hidden", hidden, METH_O, NULL}, {"careful", careful, METH_O, NULL},
    {"once", once, METH_O, NULL}, {NULL, NULL, 0, NULL}};

static struct PyModuleDef definition = {PyModuleDef_HEAD_INIT, .m_name = "counted", .m_size = -1, .m_methods = functions};

PyMODINIT_FUNC PyInit_counted(void) {
    PyObject *module = PyModule_Create(&definition);
    if (PyModule_AddType(module, (PyTypeObject *)PyType_FromSpec(&term_spec))) return NULL;
    return module;
}
