// The hot loop: an event on its way through the programs of those who receive it.
//
// Handlers run below these functions, and a handler may still run when the interpreter exits: then its thread
// is ended there by unwinding the stack, without the lock. So no function here that calls into Python may be
// noexcept, be called through nanobind, or have an object with a destructor at that moment.
#pragma once

#include <nanobind/nanobind.h>

#include <cstdint>
#include <utility>

#include "event.hpp"

namespace elkyn {

// One subscription, as far as delivery is concerned. Its program is a tuple (bool, function)*, handler in one
// flat row: filters (True) and maps (False) in their order, then who takes what comes out. Null: nobody.
struct Receiver {
    nb::object program;

    void set(nb::object next) {
        if (next.is_none()) {
            next.reset();
        } else if (!PyTuple_Check(next.ptr()) || PyTuple_GET_SIZE(next.ptr()) % 2 == 0) {
            throw nb::value_error("a program is a tuple of (bool, function) pairs, flat, and a handler");
        }
        std::swap(program, next);  // the old one is let go of only now that nobody sees it any more
    }
};

inline int receiver_traverse(PyObject* self, visitproc visit, void* arg) {
    Py_VISIT(Py_TYPE(self));
    if (nb::inst_ready(self)) Py_VISIT(nb::inst_ptr<Receiver>(self)->program.ptr());
    return 0;
}

inline int receiver_clear(PyObject* self) {
    if (nb::inst_ready(self)) nb::object(std::move(nb::inst_ptr<Receiver>(self)->program)).reset();
    return 0;
}

inline const PyType_Slot receiver_slots[] = {{Py_tp_traverse, reinterpret_cast<void*>(receiver_traverse)},
                                             {Py_tp_clear, reinterpret_cast<void*>(receiver_clear)},
                                             {0, nullptr}};

inline bool is_receiver(PyObject* object) {
    static PyTypeObject* const type = reinterpret_cast<PyTypeObject*>(nb::type<Receiver>().ptr());
    return PyObject_TypeCheck(object, type) && nb::inst_ready(object);
}

// A new reference, or null where the receiver has gone.
inline PyObject* program_of(PyObject* receiver) {
    const nb::ft_object_guard guard(receiver);
    return Py_XNewRef(nb::inst_ptr<Receiver>(receiver)->program.ptr());
}

inline bool has_program(PyObject* receiver, PyObject* program) {
    PyObject* now = program_of(receiver);
    Py_XDECREF(now);
    return now == program;
}

// Whom the dispatcher is calling now, for those who wait for the call to end.
class Running {
  public:
    Running() = default;
    ~Running() { Py_XDECREF(now_); }
    Running(const Running&) = delete;
    Running& operator=(const Running&) = delete;

    void set(PyObject* next) {
        Py_XINCREF(next);
        mutex_.lock();
        std::swap(now_, next);
        mutex_.unlock();
        Py_XDECREF(next);
    }
    [[nodiscard]] PyObject* get() {  // a new reference, or null
        mutex_.lock();
        PyObject* now = Py_XNewRef(now_);
        mutex_.unlock();
        return now;
    }
    int traverse(visitproc visit, void* arg) const {
        Py_VISIT(now_);
        return 0;
    }

  private:
    PyObject* now_ = nullptr;
    nb::ft_mutex mutex_;  // nothing where there is a GIL
};

// The error that is set, taken.
inline PyObject* take_error() {
#if PY_VERSION_HEX >= 0x030c0000
    return PyErr_GetRaisedException();
#else
    PyObject* type = nullptr;
    PyObject* error = nullptr;
    PyObject* trace = nullptr;
    PyErr_Fetch(&type, &error, &trace);
    PyErr_NormalizeException(&type, &error, &trace);
    if (trace != nullptr) PyException_SetTraceback(error, trace);
    Py_XDECREF(type);
    Py_XDECREF(trace);
    return error;
#endif
}

// Calls failed(receiver, error, by_handler) as from an `except` block.
inline bool tell_of_error(PyObject* receiver, bool by_handler, PyObject* failed) {
    PyObject* error = take_error();
    PyObject* outer = PyErr_GetHandledException();
    PyErr_SetHandledException(error);
    PyObject* told =
        PyObject_CallFunctionObjArgs(failed, receiver, error, by_handler ? Py_True : Py_False, nullptr);
    PyErr_SetHandledException(outer);
    Py_XDECREF(outer);
    Py_DECREF(error);
    Py_XDECREF(told);
    return told != nullptr;
}

enum class Outcome : std::uint8_t { kDone, kFunctionRaised, kHandlerRaised };

// Sends `item`, which it takes over, through the program of a receiver.
inline Outcome walk(PyObject* receiver, PyObject* program, PyObject* item) {
    const Py_ssize_t handler = PyTuple_GET_SIZE(program) - 1;
    Outcome outcome = Outcome::kDone;
    bool kept = true;
    for (Py_ssize_t at = 0; kept && at < handler; at += 2) {
        PyObject* result = PyObject_CallOneArg(PyTuple_GET_ITEM(program, at + 1), item);
        if (result != nullptr && PyTuple_GET_ITEM(program, at) != Py_True) {
            std::swap(item, result);
        } else {
            const int truth = result == nullptr ? -1 : PyObject_IsTrue(result);
            kept = truth > 0;
            if (truth < 0) outcome = Outcome::kFunctionRaised;
        }
        Py_XDECREF(result);
        kept = kept && has_program(receiver, program);  // a function may have unsubscribed its own chain
    }
    if (kept) {
        PyObject* result = PyObject_CallOneArg(PyTuple_GET_ITEM(program, handler), item);
        if (result == nullptr) outcome = Outcome::kHandlerRaised;
        Py_XDECREF(result);
    }
    Py_DECREF(item);
    return outcome;
}

// Hands an event to all its receivers. False, with an error set, only where telling of an error failed.
inline bool hand_on(PyObject* event, PyObject* receivers, PyObject* failed, Running& running) {
    const Py_ssize_t count = PyTuple_GET_SIZE(receivers);
    // Each receiver owns its copy; where nothing in the event can be changed, one copy serves all.
    const bool copies = count > 1 && !nb::inst_ptr<Event>(event)->shareable();
    for (Py_ssize_t at = 0; at < count; ++at) {
        PyObject* receiver = PyTuple_GET_ITEM(receivers, at);
        if (!is_receiver(receiver)) {
            PyErr_SetString(PyExc_TypeError, "the receivers of an event are a tuple of Receiver objects");
            return false;
        }
        // First the mark, then the look at the program: unsubscribe() takes the program away and then looks
        // for the mark, so one of them sees the other.
        running.set(receiver);
        PyObject* program = program_of(receiver);
        if (program == nullptr) continue;
        PyObject* item = copies ? event_copy(event) : Py_NewRef(event);
        const Outcome outcome = item == nullptr ? Outcome::kFunctionRaised : walk(receiver, program, item);
        Py_DECREF(program);
        if (outcome != Outcome::kDone && !tell_of_error(receiver, outcome == Outcome::kHandlerRaised, failed))
            return false;
    }
    return true;
}

}  // namespace elkyn
