/* Twenty leaks and twenty innocents that look like them. What leaks has "lost" in its name, what does not has "fine". */
#define PY_SSIZE_T_CLEAN
#include <Python.h>
#include <fcntl.h>
#include <stdlib.h>
#include <unistd.h>

/* Calls that return. */
static PyObject *lost_block(PyObject *m, PyObject *a) { return malloc(64) ? PyLong_FromLong(1) : NULL; }
static PyObject *fine_block(PyObject *m, PyObject *a) { free(malloc(64)); Py_RETURN_NONE; }
static PyObject *lost_reference(PyObject *m, PyObject *arg) { Py_INCREF(arg); Py_RETURN_NONE; }
static PyObject *fine_reference(PyObject *m, PyObject *arg) { Py_INCREF(arg); return arg; }

/* A conversion that fails once something has been made. */
static PyObject *number(PyObject *arg, int tidy) {
    void *block = malloc(64);
    long value = PyLong_AsLong(arg);
    if (value == -1 && PyErr_Occurred()) { if (tidy) free(block); return NULL; }
    free(block);
    return PyLong_FromLong(value);
}
static PyObject *lost_on_error(PyObject *m, PyObject *arg) { return number(arg, 0); }
static PyObject *fine_on_error(PyObject *m, PyObject *arg) { return number(arg, 1); }

/* A second allocation that fails. */
static PyObject *two_blocks(int tidy) {
    void *first = PyMem_Malloc(100), *second = PyMem_Malloc(100);
    if (first && second) {
        PyMem_Free(first);
        PyMem_Free(second);
        Py_RETURN_NONE;
    }
    if (tidy) PyMem_Free(first);
    PyMem_Free(second);
    return PyErr_NoMemory();
}
static PyObject *lost_on_no_memory(PyObject *m, PyObject *arg) { return two_blocks(0); }
static PyObject *fine_on_no_memory(PyObject *m, PyObject *arg) { return two_blocks(1); }

/* A list that is half built when an item is wrong. */
static PyObject *half_built(PyObject *arg, int tidy) {
    if (!PyList_Check(arg)) return PyErr_Format(PyExc_TypeError, "a list");
    PyObject *made = PyList_New(0);
    for (Py_ssize_t i = 0; i < PyList_GET_SIZE(arg); i++) {
        PyObject *number = PyNumber_Float(PyList_GET_ITEM(arg, i));
        if (!number) { if (tidy) Py_DECREF(made); return NULL; }
        PyList_Append(made, number);
        Py_DECREF(number);
    }
    return made;
}
static PyObject *lost_half_built(PyObject *m, PyObject *arg) { return half_built(arg, 0); }
static PyObject *fine_half_built(PyObject *m, PyObject *arg) { return half_built(arg, 1); }

/* An iterable that raises in the middle. */
static PyObject *iterated(PyObject *arg, int tidy) {
    PyObject *iterator = PyObject_GetIter(arg), *item;
    if (!iterator) return NULL;
    long count = 0;
    while ((item = PyIter_Next(iterator))) { Py_DECREF(item); if (++count > 1000) break; }
    if (PyErr_Occurred()) { if (tidy) Py_DECREF(iterator); return NULL; }
    Py_DECREF(iterator);
    return PyLong_FromLong(count);
}
static PyObject *lost_iterator(PyObject *m, PyObject *arg) { return iterated(arg, 0); }
static PyObject *fine_iterator(PyObject *m, PyObject *arg) { return iterated(arg, 1); }

/* A callback that raises. */
static PyObject *called(PyObject *arg, int tidy) {
    PyObject *argument = PyBytes_FromString("for the callback");
    PyObject *result = PyObject_CallOneArg(arg, argument);
    if (!result) { if (tidy) Py_DECREF(argument); return NULL; }
    Py_DECREF(argument);
    return result;
}
static PyObject *lost_callback(PyObject *m, PyObject *arg) { return called(arg, 0); }
static PyObject *fine_callback(PyObject *m, PyObject *arg) { return called(arg, 1); }

/* A keyword that nobody knows. */
static PyObject *keywords(PyObject *args, PyObject *kwargs, int tidy) {
    static char *names[] = {"a", NULL};
    void *block = malloc(64);
    PyObject *a = NULL;
    if (!PyArg_ParseTupleAndKeywords(args, kwargs, "|O", names, &a)) { if (tidy) free(block); return NULL; }
    free(block);
    Py_RETURN_NONE;
}
static PyObject *lost_keyword(PyObject *m, PyObject *a, PyObject *k) { return keywords(a, k, 0); }
static PyObject *fine_keyword(PyObject *m, PyObject *a, PyObject *k) { return keywords(a, k, 1); }

/* A buffer that is too short; a descriptor that stays open then. */
static PyObject *buffered(PyObject *arg, int tidy, int descriptor) {
    Py_buffer view;
    if (PyObject_GetBuffer(arg, &view, PyBUF_SIMPLE) < 0) return NULL;
    int opened = descriptor ? open("/dev/null", O_RDONLY) : -1;
    if (view.len < 4) {
        if (tidy || descriptor) PyBuffer_Release(&view);
        if (tidy && opened >= 0) close(opened);
        return PyErr_Format(PyExc_ValueError, "too short");
    }
    PyBuffer_Release(&view);
    if (opened >= 0) close(opened);
    Py_RETURN_NONE;
}
static PyObject *lost_buffer(PyObject *m, PyObject *arg) { return buffered(arg, 0, 0); }
static PyObject *fine_buffer(PyObject *m, PyObject *arg) { return buffered(arg, 1, 0); }
static PyObject *lost_descriptor(PyObject *m, PyObject *arg) { return buffered(arg, 0, 1); }
static PyObject *fine_descriptor(PyObject *m, PyObject *arg) { return buffered(arg, 1, 1); }

/* One structure for all types: a block, an object that is held, a state. */
typedef struct { PyObject_HEAD void *block; PyObject *held; int state; } Thing;

static void thing_dealloc(PyObject *o) {
    Thing *self = (Thing *)o;
    PyTypeObject *type = Py_TYPE(o);
    free(self->block);
    Py_CLEAR(self->held);
    type->tp_free(o);
    Py_DECREF(type);
}
static int thing_init(Thing *self, PyObject *args, int tidy_block, int tidy_held) {
    PyObject *held = Py_None;
    if (!PyArg_ParseTuple(args, "|O", &held)) return -1;
    if (tidy_block) free(self->block);
    self->block = malloc(64);
    PyObject *old = self->held;
    self->held = Py_NewRef(held);
    if (tidy_held) Py_XDECREF(old);
    return 0;
}
static int init_fine(PyObject *s, PyObject *a, PyObject *k) { return thing_init((Thing *)s, a, 1, 1); }
static int init_lost_block(PyObject *s, PyObject *a, PyObject *k) { return thing_init((Thing *)s, a, 0, 1); }
static int init_lost_held(PyObject *s, PyObject *a, PyObject *k) {
    int again = ((Thing *)s)->held != NULL;
    int code = thing_init((Thing *)s, a, 1, !again);
    if (!again && !code) Py_SETREF(((Thing *)s)->held, PyBytes_FromString("forgotten by the next one"));
    return code;
}

/* An attribute that refers to anything; its type tells the collector, or does not. */
static PyObject *held_get(PyObject *s, void *c) { PyObject *h = ((Thing *)s)->held; return Py_NewRef(h ? h : Py_None); }
static int held_set(PyObject *s, PyObject *v, void *c) {
    PyObject *old = ((Thing *)s)->held;
    ((Thing *)s)->held = Py_XNewRef(v);
    Py_XDECREF(old);
    return 0;
}
static int text_set(PyObject *s, PyObject *v, int tidy) {
    if (!v) return PyErr_Format(PyExc_TypeError, "not deleted"), -1;
    void *block = malloc(64);
    if (!PyUnicode_Check(v)) { if (tidy) free(block); PyErr_SetString(PyExc_TypeError, "a str"); return -1; }
    free(((Thing *)s)->block);
    ((Thing *)s)->block = block;
    return 0;
}
static int text_set_lost(PyObject *s, PyObject *v, void *c) { return text_set(s, v, 0); }
static int text_set_fine(PyObject *s, PyObject *v, void *c) { return text_set(s, v, 1); }
static int number_set_lost(PyObject *s, PyObject *v, void *c) {
    if (!v || !PyLong_Check(v)) return PyErr_Format(PyExc_TypeError, "an int"), -1;
    ((Thing *)s)->block = realloc(NULL, 64); /* the old one is forgotten */
    return 0;
}
static PyObject *none_get(PyObject *s, void *c) { Py_RETURN_NONE; }
static PyObject *number_get(PyObject *s, void *c) { return PyLong_FromLong(1); }
static PyGetSetDef held_attribute[] = {{"held", held_get, held_set, "anything", NULL}, {0}};
static PyGetSetDef lost_text[] = {{"text", none_get, text_set_lost, "a text", NULL}, {0}};
static PyGetSetDef fine_text[] = {{"text", none_get, text_set_fine, "a text", NULL}, {0}};
static PyGetSetDef lost_number[] = {{"number", number_get, number_set_lost, "a number", NULL}, {0}};

static int held_traverse(PyObject *s, visitproc visit, void *arg) {
    Py_VISIT(Py_TYPE(s));
    Py_VISIT(((Thing *)s)->held);
    return 0;
}
static int held_clear(PyObject *s) { Py_CLEAR(((Thing *)s)->held); return 0; }
static void traced_dealloc(PyObject *o) { PyObject_GC_UnTrack(o); thing_dealloc(o); }

/* Instances that keep their type. */
static void dealloc_lost_type(PyObject *o) {
    free(((Thing *)o)->block);
    Py_CLEAR(((Thing *)o)->held);
    Py_TYPE(o)->tp_free(o);
}
/* What is made by `__new__` is given back by `close` or after `__init__` only. */
static PyObject *new_with_block(PyTypeObject *type, PyObject *a, PyObject *k) {
    Thing *self = (Thing *)type->tp_alloc(type, 0);
    if (self) self->block = malloc(64);
    return (PyObject *)self;
}
static int init_state(PyObject *s, PyObject *a, PyObject *k) { ((Thing *)s)->state = 1; return 0; }
static void dealloc_initialized(PyObject *o) {
    if (!((Thing *)o)->state) ((Thing *)o)->block = NULL;
    thing_dealloc(o);
}
/* Iterators. */
static PyObject *next_item(PyObject *s) {
    Thing *self = (Thing *)s;
    if (!self->block) self->block = malloc(64);
    if (++self->state > 20) return NULL;
    return PyLong_FromLong(self->state);
}
static void dealloc_exhausted(PyObject *o) {
    if (((Thing *)o)->state <= 20) ((Thing *)o)->block = NULL;
    thing_dealloc(o);
}
/* Closing, entering, copying, setting a state. */
static PyObject *close_lost(PyObject *s, PyObject *a) {
    Thing *self = (Thing *)s;
    if (self->state++) self->block = malloc(64); /* and forgotten below */
    else free(self->block);
    self->block = NULL;
    Py_RETURN_NONE;
}
static PyObject *close_fine(PyObject *s, PyObject *a) {
    free(((Thing *)s)->block);
    ((Thing *)s)->block = NULL;
    Py_RETURN_NONE;
}
static PyObject *enter_lost(PyObject *s, PyObject *a) { ((Thing *)s)->state = malloc(64) != NULL; return Py_NewRef(s); }
static PyObject *leave(PyObject *s, PyObject *a) { Py_RETURN_NONE; }
static PyObject *enter_fine(PyObject *s, PyObject *a) { return Py_NewRef(s); }
static PyObject *copy_lost(PyObject *s, PyObject *a) { return malloc(64) ? Py_NewRef(s) : NULL; }
static PyObject *copy_fine(PyObject *s, PyObject *a) { return Py_NewRef(s); }
static PyObject *state_lost(PyObject *s, PyObject *state) {
    ((Thing *)s)->held = Py_NewRef(state); /* what was held is forgotten */
    Py_RETURN_NONE;
}
static PyObject *state_fine(PyObject *s, PyObject *state) { held_set(s, state, NULL); Py_RETURN_NONE; }
static PyObject *state_get(PyObject *s, PyObject *a) { return Py_BuildValue("[ii]", 1000, 2000); }
static PyMethodDef lost_close[] = {{"close", close_lost, METH_NOARGS, "close()"}, {0}};
static PyMethodDef fine_close[] = {{"close", close_fine, METH_NOARGS, "close()"}, {0}};
static PyMethodDef lost_context[] = {{"__enter__", enter_lost, METH_NOARGS, ""}, {"__exit__", leave, METH_VARARGS, ""}, {0}};
static PyMethodDef fine_context[] = {{"__enter__", enter_fine, METH_NOARGS, ""}, {"__exit__", leave, METH_VARARGS, ""}, {0}};
static PyMethodDef lost_copy[] = {{"__copy__", copy_lost, METH_NOARGS, ""}, {0}};
static PyMethodDef fine_copy[] = {{"__copy__", copy_fine, METH_NOARGS, ""}, {0}};
static PyMethodDef lost_state[] = {{"__getstate__", state_get, METH_NOARGS, ""}, {"__setstate__", state_lost, METH_O, ""}, {0}};
static PyMethodDef fine_state[] = {{"__getstate__", state_get, METH_NOARGS, ""}, {"__setstate__", state_fine, METH_O, ""}, {0}};

#define ALWAYS(new, init, dealloc) \
    {Py_tp_new, (void *)(new)}, {Py_tp_init, (void *)(init)}, {Py_tp_dealloc, (void *)(dealloc)}
#define FLAGS (Py_TPFLAGS_DEFAULT | Py_TPFLAGS_BASETYPE)
#define TYPE(name, flags, ...) \
    static PyType_Slot name##_slots[] = {__VA_ARGS__, {0}}; \
    static PyType_Spec name##_spec = {"planted_extension." #name, sizeof(Thing), 0, (flags), name##_slots};

TYPE(LostBlockWhenInitializedTwice, FLAGS, ALWAYS(PyType_GenericNew, init_lost_block, thing_dealloc))
TYPE(LostListWhenInitializedTwice, FLAGS, ALWAYS(PyType_GenericNew, init_lost_held, thing_dealloc))
TYPE(FineWhenInitializedTwice, FLAGS | Py_TPFLAGS_HAVE_GC, ALWAYS(PyType_GenericNew, init_fine, traced_dealloc),
     {Py_tp_traverse, held_traverse}, {Py_tp_clear, held_clear})
TYPE(LostCycleByAttribute, FLAGS, ALWAYS(PyType_GenericNew, NULL, thing_dealloc), {Py_tp_getset, held_attribute})
TYPE(LostCycleByArgument, FLAGS, ALWAYS(PyType_GenericNew, init_fine, thing_dealloc))
TYPE(FineCycle, FLAGS | Py_TPFLAGS_HAVE_GC, ALWAYS(PyType_GenericNew, init_fine, traced_dealloc),
     {Py_tp_getset, held_attribute}, {Py_tp_traverse, held_traverse}, {Py_tp_clear, held_clear})
TYPE(LostType, FLAGS, ALWAYS(PyType_GenericNew, NULL, dealloc_lost_type))
TYPE(FineType, FLAGS, ALWAYS(PyType_GenericNew, NULL, thing_dealloc))
TYPE(LostWithoutInit, FLAGS, ALWAYS(new_with_block, init_state, dealloc_initialized))
TYPE(FineWithoutInit, FLAGS, ALWAYS(new_with_block, init_state, thing_dealloc))
TYPE(LostWhenAbandoned, FLAGS, ALWAYS(PyType_GenericNew, NULL, dealloc_exhausted), {Py_tp_iter, PyObject_SelfIter},
     {Py_tp_iternext, next_item})
TYPE(FineWhenAbandoned, FLAGS, ALWAYS(PyType_GenericNew, NULL, thing_dealloc), {Py_tp_iter, PyObject_SelfIter},
     {Py_tp_iternext, next_item})
TYPE(LostWhenClosedTwice, FLAGS, ALWAYS(new_with_block, NULL, thing_dealloc), {Py_tp_methods, lost_close})
TYPE(FineWhenClosedTwice, FLAGS, ALWAYS(new_with_block, NULL, thing_dealloc), {Py_tp_methods, fine_close})
TYPE(LostBySetting, FLAGS, ALWAYS(PyType_GenericNew, NULL, thing_dealloc), {Py_tp_getset, lost_number})
TYPE(LostBySettingWrong, FLAGS, ALWAYS(PyType_GenericNew, NULL, thing_dealloc), {Py_tp_getset, lost_text})
TYPE(FineBySetting, FLAGS, ALWAYS(PyType_GenericNew, NULL, thing_dealloc), {Py_tp_getset, fine_text})
TYPE(LostByEntering, FLAGS, ALWAYS(PyType_GenericNew, NULL, thing_dealloc), {Py_tp_methods, lost_context})
TYPE(FineByEntering, FLAGS, ALWAYS(PyType_GenericNew, NULL, thing_dealloc), {Py_tp_methods, fine_context})
TYPE(LostByCopy, FLAGS, ALWAYS(PyType_GenericNew, NULL, thing_dealloc), {Py_tp_methods, lost_copy})
TYPE(FineByCopy, FLAGS, ALWAYS(PyType_GenericNew, NULL, thing_dealloc), {Py_tp_methods, fine_copy})
TYPE(LostByState, FLAGS, ALWAYS(PyType_GenericNew, NULL, thing_dealloc), {Py_tp_methods, lost_state})
TYPE(FineByState, FLAGS, ALWAYS(PyType_GenericNew, NULL, thing_dealloc), {Py_tp_methods, fine_state})

/* Derived from a builtin type that loses something itself where memory is short, in CPython 3.11. */
#define LIST_TYPE(name, flags) \
    static PyType_Slot name##_slots[] = {{0}}; \
    static PyType_Spec name##_spec = {"planted_extension." #name, 0, 0, (flags), name##_slots};
LIST_TYPE(FineList, FLAGS)

/* What grows and stops: a cache of 256 entries by key, and one block that is made once. */
static PyObject *fine_cache(PyObject *m, PyObject *arg) {
    static PyObject *cache;
    if (!cache) cache = PyDict_New();
    if (!PyUnicode_Check(arg)) return PyErr_Format(PyExc_TypeError, "a str");
    if (PyDict_GET_SIZE(cache) < 256 && PyDict_SetItem(cache, arg, Py_True) < 0) return NULL;
    return Py_NewRef(m);
}
static PyObject *fine_once(PyObject *m, PyObject *a) {
    static void *block;
    if (!block) block = malloc(1 << 16);
    Py_RETURN_NONE;
}

#define O(name) {#name, name, METH_O, ""}
static PyMethodDef functions[] = {
    {"lost_block", lost_block, METH_NOARGS, ""}, {"fine_block", fine_block, METH_NOARGS, ""},
    {"lost_on_no_memory", lost_on_no_memory, METH_NOARGS, ""},
    {"fine_on_no_memory", fine_on_no_memory, METH_NOARGS, ""}, O(lost_reference), O(fine_reference), O(lost_on_error), O(fine_on_error), O(lost_half_built), O(fine_half_built),
    O(lost_iterator), O(fine_iterator), O(lost_callback), O(fine_callback), O(lost_buffer), O(fine_buffer),
    O(lost_descriptor), O(fine_descriptor), O(fine_cache), {"fine_once", fine_once, METH_NOARGS, ""},
    {"lost_keyword", (PyCFunction)(void (*)(void))lost_keyword, METH_VARARGS | METH_KEYWORDS, ""},
    {"fine_keyword", (PyCFunction)(void (*)(void))fine_keyword, METH_VARARGS | METH_KEYWORDS, ""},
    {0}};

static PyType_Spec *types[] = {
    &LostBlockWhenInitializedTwice_spec, &LostListWhenInitializedTwice_spec, &FineWhenInitializedTwice_spec,
    &LostCycleByAttribute_spec, &LostCycleByArgument_spec, &FineCycle_spec, &LostType_spec, &FineType_spec,
    &LostWithoutInit_spec, &FineWithoutInit_spec, &LostWhenAbandoned_spec, &FineWhenAbandoned_spec,
    &LostWhenClosedTwice_spec, &FineWhenClosedTwice_spec, &LostBySetting_spec, &LostBySettingWrong_spec,
    &FineBySetting_spec, &LostByEntering_spec, &FineByEntering_spec, &LostByCopy_spec, &FineByCopy_spec,
    &LostByState_spec, &FineByState_spec, &FineList_spec};

static struct PyModuleDef definition = {PyModuleDef_HEAD_INIT, "planted_extension", NULL, -1, functions};

PyMODINIT_FUNC PyInit_planted_extension(void) {
    PyObject *module = PyModule_Create(&definition);
    for (size_t i = 0; module && i < sizeof types / sizeof *types; i++) {
        PyObject *base = (PyObject *)(types[i] == &FineList_spec ? &PyList_Type : &PyBaseObject_Type);
        PyObject *type = PyType_FromSpecWithBases(types[i], base);
        if (!type || PyModule_AddType(module, (PyTypeObject *)type) < 0) return NULL;
        Py_DECREF(type);
    }
    return module;
}
