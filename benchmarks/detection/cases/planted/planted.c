/* One planted fault of each kind that extensions are known for; `faults.toml` says how each is called.
 *
 * Built twice: with debug information, and without any symbol but the module's own.
 */
#include <Python.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

/* An object with one member. What its types leave out is the fault. */
typedef struct {
    PyObject_HEAD
    PyObject *target;
    char *buffer;
} Holder;

static int holder_init(PyObject *self, PyObject *args, PyObject *kwargs) {
    Holder *holder = (Holder *)self;
    PyObject *target = Py_None;
    if (!PyArg_ParseTuple(args, "|O", &target)) return -1;
    Py_INCREF(target);
    Py_XSETREF(holder->target, target);
    return 0;
}
static void holder_dealloc(PyObject *self) {
    PyTypeObject *type = Py_TYPE(self);
    if (PyType_IS_GC(type)) PyObject_GC_UnTrack(self);
    Py_XDECREF(((Holder *)self)->target);
    free(((Holder *)self)->buffer);
    type->tp_free(self);
    if (type->tp_flags & Py_TPFLAGS_HEAPTYPE) Py_DECREF(type);
}
static int traverse_all(PyObject *self, visitproc visit, void *arg) {
    if (Py_TYPE(self)->tp_flags & Py_TPFLAGS_HEAPTYPE) Py_VISIT(Py_TYPE(self));
    Py_VISIT(((Holder *)self)->target);
    return 0;
}
static int traverse_nothing(PyObject *self, visitproc visit, void *arg) {
    if (Py_TYPE(self)->tp_flags & Py_TPFLAGS_HEAPTYPE) Py_VISIT(Py_TYPE(self));
    return 0;
}
static int clear_target(PyObject *self) {
    Py_CLEAR(((Holder *)self)->target);
    return 0;
}

/* No support for the collector at all. */
static PyTypeObject Handle = {
    PyVarObject_HEAD_INIT(NULL, 0).tp_name = "planted.Handle", .tp_basicsize = sizeof(Holder),
    .tp_flags = Py_TPFLAGS_DEFAULT, .tp_new = PyType_GenericNew, .tp_init = holder_init, .tp_dealloc = holder_dealloc};

/* The same, and a name without a module. */
static PyTypeObject Opaque = {
    PyVarObject_HEAD_INIT(NULL, 0).tp_name = "Opaque", .tp_basicsize = sizeof(Holder), .tp_flags = Py_TPFLAGS_DEFAULT,
    .tp_new = PyType_GenericNew, .tp_init = holder_init, .tp_dealloc = holder_dealloc};

/* Known to the collector, but its traverse passes over the member. */
static PyType_Slot blind_slots[] = {{Py_tp_new, PyType_GenericNew}, {Py_tp_init, holder_init},
    {Py_tp_dealloc, holder_dealloc}, {Py_tp_traverse, traverse_nothing}, {Py_tp_clear, clear_target}, {0, NULL}};
static PyType_Spec blind_spec = {"planted.Blind", sizeof(Holder), 0, Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_GC, blind_slots};

/* Known to the collector, which can break no cycle for want of tp_clear. */
static PyType_Slot stubborn_slots[] = {{Py_tp_new, PyType_GenericNew}, {Py_tp_init, holder_init},
    {Py_tp_dealloc, holder_dealloc}, {Py_tp_traverse, traverse_all}, {0, NULL}};
static PyType_Spec stubborn_spec = {
    "planted.Stubborn", sizeof(Holder), 0, Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_GC, stubborn_slots};

/* Its dealloc keeps the reference that an instance has to its type. */
static void forgetful_dealloc(PyObject *self) {
    PyTypeObject *type = Py_TYPE(self);
    Py_XDECREF(((Holder *)self)->target);
    type->tp_free(self);
}
static PyType_Slot forgetful_slots[] = {
    {Py_tp_new, PyType_GenericNew}, {Py_tp_init, holder_init}, {Py_tp_dealloc, forgetful_dealloc}, {0, NULL}};
static PyType_Spec forgetful_spec = {
    "planted.Forgetful", sizeof(Holder), 0, Py_TPFLAGS_DEFAULT | Py_TPFLAGS_BASETYPE, forgetful_slots};

/* Whoever initialises it again loses what it had. */
static int box_init(PyObject *self, PyObject *args, PyObject *kwargs) {
    PyObject *target = Py_None;
    if (!PyArg_ParseTuple(args, "|O", &target)) return -1;
    ((Holder *)self)->target = Py_NewRef(target);
    return 0;
}
static PyType_Slot box_slots[] = {{Py_tp_new, PyType_GenericNew}, {Py_tp_init, box_init},
    {Py_tp_dealloc, holder_dealloc}, {Py_tp_traverse, traverse_all}, {Py_tp_clear, clear_target}, {0, NULL}};
static PyType_Spec box_spec = {"planted.Box", sizeof(Holder), 0, Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_GC, box_slots};

static int buffer_init(PyObject *self, PyObject *args, PyObject *kwargs) {
    ((Holder *)self)->buffer = malloc(4000);
    return 0;
}
static PyType_Slot buffer_slots[] = {
    {Py_tp_new, PyType_GenericNew}, {Py_tp_init, buffer_init}, {Py_tp_dealloc, holder_dealloc}, {0, NULL}};
static PyType_Spec buffer_spec = {"planted.Buffer", sizeof(Holder), 0, Py_TPFLAGS_DEFAULT, buffer_slots};

/* The member is in memory of its own, as languages with ownership keep it. */
typedef struct {
    long state;
    PyObject *callback;
} Inner;
typedef struct {
    PyObject_HEAD
    Inner *inner;
} Subscription;
static int subscription_init(PyObject *self, PyObject *args, PyObject *kwargs) {
    PyObject *callback;
    if (!PyArg_ParseTuple(args, "O", &callback)) return -1;
    Inner *inner = malloc(sizeof(Inner));
    *inner = (Inner){1, Py_NewRef(callback)};
    ((Subscription *)self)->inner = inner;
    return 0;
}
static void subscription_dealloc(PyObject *self) {
    PyTypeObject *type = Py_TYPE(self);
    Inner *inner = ((Subscription *)self)->inner;
    if (inner) Py_XDECREF(inner->callback);
    free(inner);
    type->tp_free(self);
    Py_DECREF(type);
}
static PyType_Slot subscription_slots[] = {{Py_tp_new, PyType_GenericNew}, {Py_tp_init, subscription_init},
    {Py_tp_dealloc, subscription_dealloc}, {0, NULL}};
static PyType_Spec subscription_spec = {
    "builtins.Subscription", sizeof(Subscription), 0, Py_TPFLAGS_DEFAULT, subscription_slots};

static PyObject *check(PyObject *module, PyObject *value) {
    Py_INCREF(value); /* given back on success only */
    if (!PyLong_Check(value)) {
        PyErr_SetString(PyExc_TypeError, "a number is needed");
        return NULL;
    }
    Py_DECREF(value);
    Py_RETURN_NONE;
}
static PyObject *total(PyObject *module, PyObject *iterable) {
    PyObject *iterator = PyObject_GetIter(iterable); /* never given back */
    PyObject *item;
    if (!iterator) return NULL;
    while ((item = PyIter_Next(iterator))) Py_DECREF(item);
    Py_RETURN_NONE;
}
static PyObject *each(PyObject *module, PyObject *iterable) {
    PyObject *iterator = PyObject_GetIter(iterable), *item;
    if (!iterator) return NULL;
    while ((item = PyIter_Next(iterator))); /* no item is given back */
    Py_DECREF(iterator);
    Py_RETURN_NONE;
}
static PyObject *notify(PyObject *module, PyObject *listener) {
    PyObject *method = PyObject_GetAttrString(listener, "on_event"); /* never given back */
    if (!method) return NULL;
    return PyObject_CallNoArgs(method);
}
static PyObject *swallow(PyObject *module, PyObject *function) {
    PyObject *type, *value, *traceback, *result = PyObject_CallNoArgs(function);
    if (result) return result;
    PyErr_Fetch(&type, &value, &traceback); /* none of the three is given back */
    Py_RETURN_NONE;
}
static PyObject *describe(PyObject *module, PyObject *value) {
    PyObject *text = PyObject_Repr(value); /* never given back */
    if (!text) return NULL;
    return PyLong_FromSsize_t(PyUnicode_GET_LENGTH(text));
}
static PyObject *summary(PyObject *module, PyObject *value) {
    PyObject *result = PyDict_New();
    PyDict_SetItemString(result, "text", PyUnicode_FromFormat("<%R and nothing else>", value)); /* takes its own */
    return result;
}
static PyObject *view(PyObject *module, PyObject *data) {
    Py_buffer buffer;
    if (PyObject_GetBuffer(data, &buffer, PyBUF_SIMPLE)) return NULL; /* never released */
    return PyLong_FromSsize_t(buffer.len);
}

__attribute__((noinline)) static char *read_header(size_t size) {
    char *header = malloc(size);
    memset(header, 1, size);
    return header;
}
static PyObject *header(PyObject *module, PyObject *size) {
    read_header(PyLong_AsSize_t(size)); /* lost */
    Py_RETURN_NONE;
}
__attribute__((noinline)) static char *read_body(size_t size) {
    char *body = malloc(size);
    memset(body, 2, size);
    return body;
}
static PyObject *body(PyObject *module, PyObject *size) {
    read_body(PyLong_AsSize_t(size)); /* lost */
    Py_RETURN_NONE;
}
typedef struct Node {
    struct Node *next;
    char text[120];
} Node;
static PyObject *document(PyObject *module, PyObject *size) {
    Node *first = NULL;
    for (long n = PyLong_AsLong(size); n > 0; n--) {
        Node *node = calloc(1, sizeof(Node));
        node->next = first;
        first = node;
    }
    Py_RETURN_NONE; /* all nodes are lost */
}
static PyObject *parse(PyObject *module, PyObject *text) {
    char *copy = strdup(PyUnicode_AsUTF8(text));
    if (strchr(copy, '!')) {
        PyErr_SetString(PyExc_ValueError, "a ! where none may be"); /* the copy is lost */
        return NULL;
    }
    free(copy);
    Py_RETURN_NONE;
}

/* Counts of objects that outlive the call: no memory is lost. */
static PyObject *borrow(PyObject *module, PyObject *value) {
    Py_INCREF(value); /* never given back */
    Py_RETURN_NONE;
}
static PyObject *release(PyObject *module, PyObject *value) {
    Py_DECREF(value); /* it was not ours to give back */
    Py_RETURN_NONE;
}
static PyObject *kind(PyObject *module, PyObject *value) {
    Py_INCREF(Py_TYPE(value)); /* one for the caller, and one that nobody has */
    return Py_NewRef(Py_TYPE(value));
}
static PyObject *limit(PyObject *module, PyObject *unused) {
    static PyObject *value;
    if (!value) value = PyFloat_FromDouble(0.25);
    Py_INCREF(value); /* the same */
    return Py_NewRef(value);
}

/* A table of native code's. */
static PyObject **listeners;
static size_t listener_count;
static PyObject *listen(PyObject *module, PyObject *callback) {
    if (listener_count % 64 == 0) listeners = realloc(listeners, (listener_count + 64) * sizeof(*listeners));
    listeners[listener_count++] = Py_NewRef(callback);
    Py_RETURN_NONE;
}
static PyObject *chain;
static PyObject *remember(PyObject *module, PyObject *value) {
    PyObject *link = PyTuple_Pack(2, value, chain ? chain : Py_None);
    Py_XSETREF(chain, link);
    Py_RETURN_NONE;
}

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t wake = PTHREAD_COND_INITIALIZER, idle = PTHREAD_COND_INITIALIZER;
static int waiting, started;
static void *work(void *unused) {
    pthread_mutex_lock(&lock);
    for (;;) {
        while (!waiting) pthread_cond_wait(&wake, &lock);
        memset(malloc(3000), 3, 3000); /* lost */
        waiting--;
        pthread_cond_signal(&idle);
    }
    return NULL;
}
static PyObject *feed(PyObject *module, PyObject *unused) {
    pthread_t thread;
    if (!started++) pthread_create(&thread, NULL, work, NULL);
    Py_BEGIN_ALLOW_THREADS;
    pthread_mutex_lock(&lock);
    waiting++;
    pthread_cond_signal(&wake);
    while (waiting) pthread_cond_wait(&idle, &lock);
    pthread_mutex_unlock(&lock);
    Py_END_ALLOW_THREADS;
    Py_RETURN_NONE;
}

static PyMethodDef functions[] = {
    {"check", check, METH_O, NULL}, {"total", total, METH_O, NULL}, {"each", each, METH_O, NULL},
    {"notify", notify, METH_O, NULL}, {"swallow", swallow, METH_O, NULL}, {"describe", describe, METH_O, NULL},
    {"summary", summary, METH_O, NULL}, {"view", view, METH_O, NULL}, {"header", header, METH_O, NULL},
    {"body", body, METH_O, NULL}, {"document", document, METH_O, NULL}, {"parse", parse, METH_O, NULL},
    {"listen", listen, METH_O, NULL}, {"remember", remember, METH_O, NULL}, {"feed", feed, METH_NOARGS, NULL},
    {"borrow", borrow, METH_O, NULL}, {"release", release, METH_O, NULL}, {"kind", kind, METH_O, NULL},
    {"limit", limit, METH_NOARGS, NULL},
    {NULL, NULL, 0, NULL}};

static struct PyModuleDef definition = {PyModuleDef_HEAD_INIT, .m_name = "planted", .m_size = -1, .m_methods = functions};

PyMODINIT_FUNC PyInit_planted(void) {
    PyObject *module = PyModule_Create(&definition);
    PyType_Spec *specs[] = {&blind_spec, &stubborn_spec, &forgetful_spec, &box_spec, &buffer_spec, &subscription_spec};
    PyTypeObject *types[] = {&Handle, &Opaque};
    for (size_t n = 0; n < sizeof(types) / sizeof(*types); n++)
        if (PyModule_AddType(module, types[n])) return NULL;
    for (size_t n = 0; n < sizeof(specs) / sizeof(*specs); n++)
        if (PyModule_AddType(module, (PyTypeObject *)PyType_FromSpec(specs[n]))) return NULL;
    return module;
}
