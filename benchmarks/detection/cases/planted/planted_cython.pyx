# cython: language_level=3
"""What Cython makes of the same faults: its own support for the collector, switched off where a class asks for it."""
cimport cython
from cpython.ref cimport Py_INCREF, PyObject
from libc.stdlib cimport malloc, free
from libc.string cimport memset

@cython.no_gc
cdef class Untracked:
    cdef object callback
    def __init__(self, callback): self.callback = callback

@cython.no_gc_clear
cdef class Unclearable:
    cdef object callback
    def __init__(self, callback): self.callback = callback

cdef class Reader:
    cdef char* buffer
    def __init__(self, size):
        self.buffer = <char*>malloc(size)
        memset(self.buffer, 1, size)
    def __dealloc__(self): free(self.buffer)

cdef class Parser:
    cdef PyObject* kept
    def feed(self, value):
        Py_INCREF(value)
        self.kept = <PyObject*>value

def decode(bytes data):
    cdef char* copy = <char*>malloc(1 + len(data))
    copy[0] = 1
    if b"!" in data:
        raise ValueError("a ! where none may be")
    free(copy)
