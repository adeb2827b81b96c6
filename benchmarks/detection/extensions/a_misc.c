#define _GNU_SOURCE
#include <dlfcn.h>
#include <fcntl.h>
#include <locale.h>
#include <pthread.h>
#include <signal.h>
#include <sys/inotify.h>
#include <sys/ipc.h>
#include <sys/mman.h>
#include <sys/msg.h>
#include <sys/sem.h>
#include <sys/shm.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "common.h"
/* bump arena: reservation of 1 GiB at once, touched on demand */
static char* arena;
static size_t used;
__attribute__((noinline)) static void* arena_alloc(size_t n) {
    if (!arena)
        arena = mmap(0, (size_t)16 << 30, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE,
                     -1, 0);
    void* p = arena + used;
    used += (n + 15) & ~15;
    memset(p, 1, n);
    return p;
}
static PyObject* reserved(PyObject* s, PyObject* o) {
    arena_alloc(size_of(o));
    Py_RETURN_NONE;
}
/* bump arena in chunks got by mmap */
static char* chunk;
static size_t left;
__attribute__((noinline)) static void* chunk_alloc(size_t n, size_t c) {
    if (left < n) {
        chunk = mmap(0, c, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
        left = c;
    }
    void* p = chunk;
    chunk += n;
    left -= n;
    memset(p, 1, n);
    return p;
}
static PyObject* chunked(PyObject* s, PyObject* a) {
    Py_ssize_t n, c;
    if (!PyArg_ParseTuple(a, "nn", &n, &c)) return NULL;
    chunk_alloc(n, c);
    Py_RETURN_NONE;
}
/* sbrk of one's own */
static PyObject* own_sbrk(PyObject* s, PyObject* o) {
    Py_ssize_t n = size_of(o);
    void* p = sbrk(n);
    if (p == (void*)-1) return PyErr_NoMemory();
    memset(p, 1, n);
    Py_RETURN_NONE;
}
/* mmap: touched / untouched / file */
static PyObject* map_anon(PyObject* s, PyObject* a) {
    Py_ssize_t n;
    int touch, shared;
    if (!PyArg_ParseTuple(a, "npp", &n, &touch, &shared)) return NULL;
    void* p = mmap(0, n, PROT_READ | PROT_WRITE, (shared ? MAP_SHARED : MAP_PRIVATE) | MAP_ANONYMOUS, -1, 0);
    if (p == MAP_FAILED) return PyErr_SetFromErrno(PyExc_OSError);
    if (touch) memset(p, 1, n);
    Py_RETURN_NONE;
}
static PyObject* map_file(PyObject* s, PyObject* a) {
    const char* path;
    Py_ssize_t n;
    if (!PyArg_ParseTuple(a, "sn", &path, &n)) return NULL;
    int fd = open(path, O_RDONLY);
    void* p = mmap(0, n, PROT_READ, MAP_PRIVATE, fd, 0);
    close(fd);
    if (p == MAP_FAILED) return PyErr_SetFromErrno(PyExc_OSError);
    volatile char c = *(char*)p;
    (void)c;
    Py_RETURN_NONE;
}
static PyObject* remap_grow(PyObject* s, PyObject* o) {
    static void* p;
    static size_t n;
    size_t more = size_of(o);
    if (!p) {
        n = more;
        p = mmap(0, n, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    } else {
        p = mremap(p, n, n + more, MREMAP_MAYMOVE);
        n += more;
    }
    memset((char*)p + n - more, 1, more);
    Py_RETURN_NONE;
}
static PyObject* map_anon_noreserve(PyObject* s, PyObject* o) {
    size_t n = PyLong_AsSize_t(o);
    void* p = mmap(0, n, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (p == MAP_FAILED) return PyErr_SetFromErrno(PyExc_OSError);
    Py_RETURN_NONE;
}
/* threads */
static void* t_leak(void* a) {
    volatile char* p = malloc((size_t)a);
    p[0] = 1;
    return 0;
}
static PyObject* thread_leak(PyObject* s, PyObject* o) {
    pthread_t t;
    size_t n = size_of(o);
    Py_BEGIN_ALLOW_THREADS pthread_create(&t, 0, t_leak, (void*)n);
    pthread_join(t, 0);
    Py_END_ALLOW_THREADS Py_RETURN_NONE;
}
static PyObject* thread_unjoined(PyObject* s, PyObject* o) {
    pthread_t t;
    Py_BEGIN_ALLOW_THREADS pthread_create(&t, 0, t_leak, (void*)(size_t)1);
    usleep(300);
    Py_END_ALLOW_THREADS Py_RETURN_NONE;
}
/* a thread that lives and leaks by itself, whether called or not: per message */
static pthread_mutex_t mu = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t cv = PTHREAD_COND_INITIALIZER;
static int todo, started;
static size_t worker_n;
__attribute__((noinline)) static void worker_leaks(void) {
    volatile char* p = malloc(worker_n);
    p[0] = 1;
}
static void* worker(void* a) {
    pthread_mutex_lock(&mu);
    for (;;) {
        while (!todo) pthread_cond_wait(&cv, &mu);
        todo--;
        worker_leaks();
        pthread_cond_broadcast(&cv);
    }
    return 0;
}
static PyObject* worker_leak(PyObject* s, PyObject* o) {
    worker_n = size_of(o);
    pthread_t t;
    Py_BEGIN_ALLOW_THREADS pthread_mutex_lock(&mu);
    if (!started) {
        started = 1;
        pthread_create(&t, 0, worker, 0);
    }
    todo++;
    pthread_cond_broadcast(&cv);
    while (todo) pthread_cond_wait(&cv, &mu);
    pthread_mutex_unlock(&mu);
    Py_END_ALLOW_THREADS Py_RETURN_NONE;
}
/* thread-local cache that frees only at thread end */
static __thread void** cache;
static __thread int cn, cap;
__attribute__((noinline)) static void cache_put(size_t n) {
    if (cn == cap) {
        cap = cap ? 2 * cap : 64;
        cache = realloc(cache, cap * sizeof(void*));
    }
    cache[cn++] = malloc(n);
}
static PyObject* tls_cache(PyObject* s, PyObject* o) {
    cache_put(size_of(o));
    Py_RETURN_NONE;
}
/* kernel objects without a descriptor */
static PyObject* k_shm(PyObject* s, PyObject* o) {
    int id = shmget(IPC_PRIVATE, size_of(o), IPC_CREAT | 0600);
    if (id < 0) return PyErr_SetFromErrno(PyExc_OSError);
    return PyLong_FromLong(id);
}
static PyObject* k_shm_attach(PyObject* s, PyObject* o) {
    int id = shmget(IPC_PRIVATE, size_of(o), IPC_CREAT | 0600);
    if (id < 0) return PyErr_SetFromErrno(PyExc_OSError);
    void* p = shmat(id, 0, 0);
    memset(p, 1, size_of(o));
    shmctl(id, IPC_RMID, 0);
    Py_RETURN_NONE;
}
static PyObject* k_shm_rm(PyObject* s, PyObject* o) {
    shmctl(PyLong_AsLong(o), IPC_RMID, 0);
    Py_RETURN_NONE;
}
static PyObject* k_sem(PyObject* s, PyObject* o) {
    int id = semget(IPC_PRIVATE, 1, IPC_CREAT | 0600);
    if (id < 0) return PyErr_SetFromErrno(PyExc_OSError);
    return PyLong_FromLong(id);
}
static PyObject* k_sem_rm(PyObject* s, PyObject* o) {
    semctl(PyLong_AsLong(o), 0, IPC_RMID);
    Py_RETURN_NONE;
}
static PyObject* k_timer(PyObject* s, PyObject* o) {
    timer_t t;
    struct sigevent e = {.sigev_notify = SIGEV_NONE};
    if (timer_create(CLOCK_MONOTONIC, &e, &t)) return PyErr_SetFromErrno(PyExc_OSError);
    Py_RETURN_NONE;
}
static PyObject* k_timer_raw(PyObject* s, PyObject* o) {
    int t;
    struct sigevent e = {.sigev_notify = SIGEV_NONE};
    if (syscall(SYS_timer_create, CLOCK_MONOTONIC, &e, &t)) return PyErr_SetFromErrno(PyExc_OSError);
    Py_RETURN_NONE;
}
static PyObject* k_inotify(PyObject* s, PyObject* o) {
    static int fd = -1;
    if (fd < 0) fd = inotify_init1(IN_CLOEXEC);
    int w = inotify_add_watch(fd, PyUnicode_AsUTF8(o), IN_MODIFY);
    if (w < 0) return PyErr_SetFromErrno(PyExc_OSError);
    return PyLong_FromLong(w);
}
static PyObject* k_pthread_key(PyObject* s, PyObject* o) {
    pthread_key_t k;
    int r = pthread_key_create(&k, 0);
    if (r) {
        PyErr_Format(PyExc_OSError, "pthread_key_create: %d", r);
        return NULL;
    }
    Py_RETURN_NONE;
}
static PyObject* k_locale(PyObject* s, PyObject* o) {
    newlocale(LC_ALL_MASK, "C.UTF-8", 0);
    Py_RETURN_NONE;
}
static PyObject* k_mlock(PyObject* s, PyObject* o) {
    size_t n = size_of(o);
    void* p = mmap(0, n, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_LOCKED, -1, 0);
    if (p == MAP_FAILED) return PyErr_SetFromErrno(PyExc_OSError);
    Py_RETURN_NONE;
}
static PyObject* dl(PyObject* s, PyObject* a) {
    const char* path;
    int ns;
    if (!PyArg_ParseTuple(a, "sp", &path, &ns)) return NULL;
    static void* h;
    static void* (*f)(size_t);
    if (!h) {
        h = ns ? dlmopen(LM_ID_NEWLM, path, RTLD_NOW | RTLD_LOCAL) : dlopen(path, RTLD_NOW | RTLD_LOCAL);
        if (!h) {
            PyErr_SetString(PyExc_OSError, dlerror());
            return NULL;
        }
        f = dlsym(h, "lib_leak");
    }
    f(100);
    Py_RETURN_NONE;
}
static PyObject* dl_reopen(PyObject* s, PyObject* o) {
    void* h = dlopen(PyUnicode_AsUTF8(o), RTLD_NOW | RTLD_LOCAL);
    void* (*f)(size_t) = dlsym(h, "lib_leak");
    f(100);
    dlclose(h);
    Py_RETURN_NONE;
}
static PyObject* dl_refcount(PyObject* s, PyObject* o) {
    dlopen(PyUnicode_AsUTF8(o), RTLD_NOW | RTLD_LOCAL);
    Py_RETURN_NONE;
}
static PyMethodDef m[] = {{"reserved", reserved, METH_O, ""},
                          {"chunked", chunked, METH_VARARGS, ""},
                          {"own_sbrk", own_sbrk, METH_O, ""},
                          {"map_anon", map_anon, METH_VARARGS, ""},
                          {"map_file", map_file, METH_VARARGS, ""},
                          {"map_anon_noreserve", map_anon_noreserve, METH_O, ""},
                          {"remap_grow", remap_grow, METH_O, ""},
                          {"thread_leak", thread_leak, METH_O, ""},
                          {"thread_unjoined", thread_unjoined, METH_NOARGS, ""},
                          {"worker_leak", worker_leak, METH_O, ""},
                          {"tls_cache", tls_cache, METH_O, ""},
                          {"k_shm", k_shm, METH_O, ""},
                          {"k_shm_attach", k_shm_attach, METH_O, ""},
                          {"k_shm_rm", k_shm_rm, METH_O, ""},
                          {"k_sem", k_sem, METH_NOARGS, ""},
                          {"k_sem_rm", k_sem_rm, METH_O, ""},
                          {"k_timer", k_timer, METH_NOARGS, ""},
                          {"k_timer_raw", k_timer_raw, METH_NOARGS, ""},
                          {"k_inotify", k_inotify, METH_O, ""},
                          {"k_pthread_key", k_pthread_key, METH_NOARGS, ""},
                          {"k_locale", k_locale, METH_NOARGS, ""},
                          {"k_mlock", k_mlock, METH_O, ""},
                          {"dl", dl, METH_VARARGS, ""},
                          {"dl_reopen", dl_reopen, METH_O, ""},
                          {"dl_refcount", dl_refcount, METH_O, ""},
                          {0}};
MODULE(a_misc, m)
