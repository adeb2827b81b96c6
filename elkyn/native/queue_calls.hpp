// The hot calls of a queue, made without nanobind: its look at seven arguments costs as much as a push,
// of which an event may take no more than a tenth of a write; and below two of them handlers run
// (delivery.hpp).
#pragma once

#include <nanobind/nanobind.h>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <stdexcept>
#include <string_view>

#include "change_log.hpp"
#include "delivery.hpp"
#include "queue.hpp"

namespace elkyn {

inline Bytes bytes_view(PyObject* bytes) noexcept {
    return {reinterpret_cast<const std::byte*>(PyBytes_AS_STRING(bytes)),
            static_cast<std::size_t>(PyBytes_GET_SIZE(bytes))};
}

inline bool is_bytes_or_none(PyObject* object) noexcept { return object == Py_None || PyBytes_Check(object); }

// The event's number, or null with an error set.
inline PyObject* push_record(PyObject* self, Record& record, PyObject* receivers) {
    try {
        return PyLong_FromLongLong(nb::inst_ptr<Queue>(self)->push(record, receivers));
    } catch (const nb::builtin_exception& error) {
        PyErr_SetString(PyExc_ValueError, error.what());
        return nullptr;
    }
}

// Of which nothing derives: known since the module was made, for nanobind's look costs half of a push.
inline PyTypeObject* change_log_type = nullptr;

// False, with an error set, where the path is too long.
inline bool note(PyObject* log, std::uint64_t rev, std::string_view path, bool merged) {
    try {
        nb::inst_ptr<ChangeLog>(log)->note(rev, path, merged);
        return true;
    } catch (const std::invalid_argument& error) {
        PyErr_SetString(PyExc_ValueError, error.what());
        return false;
    }
}

// False, with an error set, where these are no text and no number.
inline bool path_and_rev(PyObject* path, PyObject* rev, Record& record) {
    Py_ssize_t size = 0;
    const char* utf8 = PyUnicode_AsUTF8AndSize(path, &size);
    if (utf8 == nullptr) return false;
    record.path = {utf8, static_cast<std::size_t>(size)};
    record.rev = PyLong_AsUnsignedLongLong(rev);
    return PyErr_Occurred() == nullptr;
}

// push(path, rev, timestamp_ns, last, value, old, receivers). No value: a delete.
inline PyObject* queue_push(PyObject* self, PyObject* const* args, Py_ssize_t nargs) {
    if (nargs != 7 || !PyUnicode_Check(args[0]) || !PyLong_Check(args[1]) || !PyLong_Check(args[2]) ||
        !PyBool_Check(args[3]) || !is_bytes_or_none(args[4]) || !is_bytes_or_none(args[5]) ||
        !PyTuple_Check(args[6])) {
        PyErr_SetString(PyExc_TypeError,
                        "push() takes a path, two integers, a bool, two values (bytes or None) and a tuple");
        return nullptr;
    }
    Record record;
    if (!path_and_rev(args[0], args[1], record)) return nullptr;
    record.timestamp_ns = PyLong_AsLongLong(args[2]);
    if (PyErr_Occurred() != nullptr) return nullptr;
    record.last = args[3] == Py_True;
    record.kind = args[4] == Py_None ? kDelete : kChange;
    record.has_old = args[5] != Py_None;
    if (args[4] != Py_None) record.value = bytes_view(args[4]);
    if (record.has_old) record.old = bytes_view(args[5]);
    return push_record(self, record, args[6]);
}

// tell(log, path, rev, value, before, receivers, wants_old): what follows the commit of one leaf, in one
// call.
inline PyObject* queue_tell(PyObject* self, PyObject* const* args, Py_ssize_t nargs) {
    if (nargs != 7 || Py_TYPE(args[0]) != change_log_type || !PyUnicode_Check(args[1]) ||
        !PyLong_Check(args[2]) || !PyBytes_Check(args[3]) || !is_bytes_or_none(args[4]) ||
        !PyTuple_Check(args[5]) || !PyBool_Check(args[6])) {
        PyErr_SetString(
            PyExc_TypeError,
            "tell() takes a log, a path, a revision, a value (bytes), the one before (bytes or None), "
            "a tuple and a bool");
        return nullptr;
    }
    Record record;
    if (!path_and_rev(args[1], args[2], record)) return nullptr;
    record.value = bytes_view(args[3]);
    if (!note(args[0], record.rev, record.path, false)) return nullptr;
    if (args[4] != Py_None) {
        const Bytes before = bytes_view(args[4]);
        if (std::ranges::equal(before, record.value)) return PyLong_FromLong(0);
        record.has_old = args[6] == Py_True;
        if (record.has_old) record.old = before;
    }
    return push_record(self, record, args[5]);
}

// deliver(limit, failed): (how many events, the gap behind them or None).
inline PyObject* queue_deliver(PyObject* self, PyObject* const* args, Py_ssize_t nargs) {
    const Py_ssize_t limit = nargs == 2 ? PyLong_AsSsize_t(args[0]) : -1;
    if (limit < 0) {
        if (PyErr_Occurred() == nullptr)
            PyErr_SetString(PyExc_TypeError, "deliver() takes a limit and a function");
        return nullptr;
    }
    Queue& queue = *nb::inst_ptr<Queue>(self);
    if (!queue.begin_delivery()) return nullptr;
    PyObject* event = nullptr;
    PyObject* receivers = nullptr;
    Gap gap;
    Next next = Next::kNothing;
    Py_ssize_t events = 0;
    while (events < limit && (next = queue.take(event, receivers, gap)) == Next::kEvent) {
        if (events++ == 0) queue.measure_lag(event);
        if (!hand_on(event, receivers, args[1], queue.running)) next = Next::kError;
        Py_DECREF(receivers);
        queue.handled();
        if (next == Next::kError) break;
    }
    queue.running.set(nullptr);
    Py_XDECREF(event);
    queue.end_delivery(static_cast<std::size_t>(events));
    if (next == Next::kError) return nullptr;
    if (next == Next::kGap) return Py_BuildValue("n(KK)", events, gap.first, gap.last);
    return Py_BuildValue("nO", events, Py_None);
}

// hand_on(event, receivers, failed): one event that comes outside the ring's order.
inline PyObject* queue_hand_on(PyObject* self, PyObject* const* args, Py_ssize_t nargs) {
    if (nargs != 3 || !nb::isinstance<Event>(args[0]) || !PyTuple_Check(args[1])) {
        PyErr_SetString(PyExc_TypeError, "hand_on() takes an event, a tuple of receivers and a function");
        return nullptr;
    }
    Queue& queue = *nb::inst_ptr<Queue>(self);
    queue.delivering(nb::inst_ptr<Event>(args[0])->seq);
    const bool told = hand_on(args[0], args[1], args[2], queue.running);
    queue.running.set(nullptr);
    return told ? Py_NewRef(Py_None) : nullptr;
}

inline PyMethodDef queue_methods[] = {
    {"tell", reinterpret_cast<PyCFunction>(reinterpret_cast<void (*)()>(queue_tell)), METH_FASTCALL,
     "Notes in `log` that revision `rev` has set the leaf at `path`, and copies the event in where the value "
     "has changed. Returns its number, negative where it was dropped for want of room; 0 where there is "
     "none."},
    {"push", reinterpret_cast<PyCFunction>(reinterpret_cast<void (*)()>(queue_push)), METH_FASTCALL,
     "Copies an event in and returns its number, negative where it was dropped for want of room."},
    {"deliver", reinterpret_cast<PyCFunction>(reinterpret_cast<void (*)()>(queue_deliver)), METH_FASTCALL,
     "Hands up to `limit` events to their receivers, fewer where the consumer is woken. Returns how many, "
     "and the gap behind them or None. `failed(receiver, error, by_handler)` is told of what raises."},
    {"hand_on", reinterpret_cast<PyCFunction>(reinterpret_cast<void (*)()>(queue_hand_on)), METH_FASTCALL,
     "Hands one event to `receivers`, outside the ring's order."},
};

}  // namespace elkyn
