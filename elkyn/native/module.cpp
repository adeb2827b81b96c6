// What Python sees of the native core: the names, signatures and docstrings of elkyn._native.
#include <nanobind/nanobind.h>
#include <nanobind/stl/optional.h>
#include <nanobind/stl/string_view.h>

#include <optional>
#include <stdexcept>
#include <string_view>
#include <utility>

#include "change_log.hpp"
#include "flatten.hpp"
#include "pattern.hpp"
#include "queue.hpp"
#include "queue_calls.hpp"
#include "transaction_scope.hpp"
#include "unflatten.hpp"

namespace nb = nanobind;
using namespace nb::literals;

namespace {

using elkyn::Event;
using elkyn::Queue;
using elkyn::Receiver;

// note(rev, path, merged), without nanobind: each write makes this call.
PyObject* change_log_note(PyObject* self, PyObject* const* args, Py_ssize_t nargs) {
    if (nargs != 3 || !PyLong_Check(args[0]) || !PyUnicode_Check(args[1]) || !PyBool_Check(args[2])) {
        PyErr_SetString(PyExc_TypeError, "note() takes a revision, a path and a bool");
        return nullptr;
    }
    elkyn::Record record;
    if (!elkyn::path_and_rev(args[1], args[0], record) ||
        !elkyn::note(self, record.rev, record.path, args[2] == Py_True))
        return nullptr;
    Py_RETURN_NONE;
}

PyMethodDef change_log_note_method = {
    "note", reinterpret_cast<PyCFunction>(reinterpret_cast<void (*)()>(change_log_note)), METH_FASTCALL,
    "Notes a path that revision `rev` is about to write. `merged`: by an update(), whose children are noted "
    "too."};

nb::object changes_since(const elkyn::ChangeLog& log, std::uint64_t rev) {
    if (!log.reaches(rev)) return nb::none();
    nb::list found;
    for (const elkyn::Change& each : log.since(rev))
        found.append(nb::make_tuple(each.rev, nb::str(each.path.data(), each.path.size()), each.merged));
    return found;
}

// Enters a method that nanobind is not to wrap.
void add_method(nb::handle type, PyMethodDef& method) {
    PyObject* descriptor = PyDescr_NewMethod(reinterpret_cast<PyTypeObject*>(type.ptr()), &method);
    if (descriptor == nullptr) throw nb::python_error();
    nb::setattr(type, method.ml_name, nb::steal(descriptor));
}

nb::object optional(PyObject* reference) { return reference == nullptr ? nb::none() : nb::steal(reference); }

// Of a subclass a plain copy: an instance may refer to anything, the event too.
nb::object plain(PyObject* made) {
    if (made == nullptr) throw nb::python_error();
    return nb::steal(made);
}

nb::object optional_bytes(const std::optional<nb::bytes>& bytes) {
    return bytes ? plain(PyBytes_FromObject(bytes->ptr())) : nb::object();
}

void make_event(Event* self, nb::object decode, bool deleted, const nb::str& path,
                const std::optional<nb::bytes>& value, const std::optional<nb::bytes>& old, std::uint64_t rev,
                std::int64_t seq, bool last, std::int64_t timestamp_ns, std::uint64_t size, bool omitted,
                bool old_omitted) {
    new (self) Event{std::move(decode),
                     plain(PyUnicode_FromObject(path.ptr())),
                     optional_bytes(value),
                     optional_bytes(old),
                     {},
                     {},
                     rev,
                     seq,
                     timestamp_ns,
                     size,
                     deleted ? elkyn::kDelete : elkyn::kChange,
                     last,
                     omitted,
                     old_omitted};
}

}  // namespace

NB_MODULE(_native, m) {
    // A thread that the interpreter has stopped at its exit holds what it was at: no news for the user.
    nb::set_leak_warnings(false);
    m.doc() = "The native core of elkyn: the event ring, its events and the pattern matcher.";

    nb::class_<Event>(
        m, "Event", nb::is_final(), nb::is_weak_referenceable(), nb::type_slots(elkyn::event_slots),
        "One change of one node, as delivered to handlers. Frozen; the value is the receiver's own copy.")
        .def("__init__", &make_event, "decode"_a, nb::kw_only(), "deleted"_a, "path"_a, "value"_a.none(),
             "old"_a.none(), "rev"_a, "seq"_a, "last"_a, "timestamp_ns"_a, "size"_a, "omitted"_a,
             "old_omitted"_a = false)
        .def_prop_ro(
            "type", [](const Event& e) { return nb::borrow(elkyn::kind_name(e.kind)); },
            "'change' or 'delete'.")
        .def_prop_ro(
            "path", [](const Event& e) { return e.path; }, "The node that changed, as an absolute path.")
        .def_prop_ro(
            "value", [](Event& e) { return e.decoded(e.raw, e.value); }, nb::lock_self(),
            "The node's value right after the commit; None for a delete or where it was omitted.")
        .def_prop_ro(
            "old", [](Event& e) { return e.decoded(e.old_raw, e.old); }, nb::lock_self(),
            "The node's value right before the commit, where the subscription asked for it and it was not "
            "omitted; else None.")
        .def_ro("rev", &Event::rev, "The revision of the commit.")
        .def_ro("seq", &Event::seq,
                "The event's number in the store's stream: strictly increasing, dropped ones too.")
        .def_ro("last", &Event::last, "Whether this is the commit's last event for this subscription.")
        .def_ro("timestamp_ns", &Event::timestamp_ns, "When the commit was made, in nanoseconds since 1970.")
        .def_ro("value_omitted", &Event::omitted,
                "True where the value was too large to travel: read it by get().")
        .def_ro("old_omitted", &Event::old_omitted,
                "True where the old value did not fit beside the new one, and is gone.")
        .def_prop_ro(
            "existed", [](const Event& e) { return e.old_raw.is_valid() || e.old_omitted; },
            "Whether the node had a value before the commit, where the subscription asked for old ones.")
        .def_ro("size", &Event::size, "Bytes of the encoded value, also where it was omitted.")
        .def(
            "matches",
            [](const Event& e, std::string_view pattern) {
                return elkyn::matches(pattern, nb::cast<std::string_view>(e.path));
            },
            "pattern"_a, "Whether the event's path is one that `pattern` names.")
        .def("__eq__",
             [](const Event& a, nb::handle other) -> nb::object {
                 if (!nb::isinstance<Event>(other)) return nb::borrow(Py_NotImplemented);
                 return nb::bool_(elkyn::event_equal(a, nb::cast<const Event&>(other)));
             })
        .def("__hash__", [](const Event& e) { return nb::hash(nb::make_tuple(e.seq, e.path)); })
        .def("__repr__", [](nb::handle self) {
            const Event& e = nb::cast<const Event&>(self);
            return nb::str("Event(type={!r}, path={!r}, value={!r}, rev={}, seq={}, last={})")
                .format(nb::borrow(elkyn::kind_name(e.kind)), e.path, self.attr("value"), e.rev, e.seq,
                        e.last);
        });

    nb::class_<elkyn::RingStats>(m, "RingStats", "Figures of the ring.")
        .def_ro("produced", &elkyn::RingStats::produced)
        .def_ro("popped", &elkyn::RingStats::popped)
        .def_ro("dropped", &elkyn::RingStats::dropped)
        .def_ro("omitted", &elkyn::RingStats::omitted)
        .def_ro("pending", &elkyn::RingStats::pending)
        .def_ro("bytes", &elkyn::RingStats::bytes)
        .def_ro("high_water", &elkyn::RingStats::high_water)
        .def_ro("high_water_bytes", &elkyn::RingStats::high_water_bytes)
        .def_ro("overflow_episodes", &elkyn::RingStats::overflow_episodes);

    nb::class_<Receiver>(m, "Receiver", nb::type_slots(elkyn::receiver_slots),
                         "One subscription, as far as delivery is concerned: the base of its Python half.")
        .def(nb::init<>())
        .def_prop_rw(
            "program", [](const Receiver& r) { return r.program.is_valid() ? r.program : nb::none(); },
            &Receiver::set, nb::lock_self(), nb::for_setter(nb::arg("program").none()),
            "What an event goes through: (True, filter) and (False, map) pairs in one flat tuple, then the "
            "handler. None: nobody is there any more.");

    nb::class_<Queue> queue(m, "Queue", nb::is_final(), nb::is_weak_referenceable(),
                            nb::type_slots(elkyn::queue_slots), "The ring with its doorbell.");
    queue
        .def(nb::init<nb::object, std::size_t, std::size_t>(), "decode"_a, "slots"_a = elkyn::kSlots,
             "value_bytes"_a = elkyn::kValueBytes,
             "`decode` turns the bytes of a value into the value; sizes are rounded up to powers of two.")
        .def("show", &Queue::show,
             "Shows the consumer what was pushed of a commit whose last event may not come.")
        .def("settle", &Queue::settle, "Shows the consumer the drops so far, as a gap.")
        .def("wait", &Queue::wait, "timeout_s"_a, "Sleeps without the GIL until there is something to do.")
        .def("wake", &Queue::wake, "Ends a wait() from any thread, and a deliver() after the event it is at.")
        .def("heed", &Queue::heed, "Takes a wake() for heard; the consumer looks after that what it was for.")
        .def("close", &Queue::close, "Refuses further events and ends a wait(). Idempotent.")
        .def("discard", &Queue::discard,
             "Drops what is still in the ring, gives its memory back, and returns how many events that were.")
        .def("stats", &Queue::stats, "Wait-free figures.")
        .def_prop_ro("slots", &Queue::slots, "How many events it holds at most.")
        .def_prop_ro("value_bytes", &Queue::value_bytes, "How many bytes of values it holds at most.")
        .def_prop_ro("settled", &Queue::settled,
                     "The first number that is not decided yet: the next event's.")
        .def_prop_ro("next_seq", &Queue::next_seq, "The number that the next push() takes, for the producer.")
        .def_prop_ro("seq", &Queue::seq, "The number of the event being delivered, or of the last one.")
        .def_prop_ro("handled", &Queue::events_handled, "Events from the ring whose handlers have returned.")
        .def_prop_ro("lag_ns", &Queue::lag_ns, "From commit to delivery, of a late event.")
        .def_prop_rw(
            "running", [](Queue& q) { return optional(q.running.get()); },
            [](Queue& q, nb::handle who) { q.running.set(who.is_none() ? nullptr : who.ptr()); },
            nb::for_getter(nb::sig("def running(self, /) -> object | None")),
            nb::for_setter(nb::arg("who").none()), "Whom the consumer is calling now.");
    for (PyMethodDef& method : elkyn::queue_methods) add_method(queue, method);

    nb::class_<elkyn::ChangeLog> changes(m, "ChangeLog", nb::is_final(),
                                         "The paths of the latest writes, in a fixed block of memory.");
    changes
        .def(nb::init<std::uint64_t, std::size_t>(), "rev"_a, "size"_a = elkyn::kChangeLogBytes,
             "Knows of every write after revision `rev`, none so far, in `size` bytes.")
        .def("since", &changes_since, "rev"_a,
             nb::sig("def since(self, rev: int) -> list[tuple[int, str, bool]] | None"),
             "Returns (rev, path, merged) of the writes after revision `rev`, oldest first; None where some "
             "are "
             "forgotten.")
        .def("discard", &elkyn::ChangeLog::discard,
             "Gives its memory back; from now on it knows of no write.")
        .def_prop_ro("complete_since", &elkyn::ChangeLog::complete_since,
                     "The revision after which every write is known.");
    add_method(changes, change_log_note_method);
    elkyn::change_log_type = reinterpret_cast<PyTypeObject*>(changes.ptr());

    PyObject* scope = PyType_FromSpec(&elkyn::scope_spec);
    if (scope == nullptr) throw nb::python_error();
    m.attr("TransactionScope") = nb::steal(scope);

    for (PyMethodDef* method : {&elkyn::flatten_method, &elkyn::unflatten_method}) {
        PyObject* function = PyCFunction_New(method, nullptr);
        if (function == nullptr) throw nb::python_error();
        m.attr(method->ml_name) = nb::steal(function);
    }

    m.def("matches", &elkyn::matches, "pattern"_a, "path"_a, "Whether `path` is one that `pattern` names.");
    m.def(
        "report_leaks", [](bool report) { nb::set_leak_warnings(report); }, "report"_a,
        "Whether to report at exit what of this module is still alive; on to begin with.");
    m.attr("SLOTS") = elkyn::kSlots;
    m.attr("VALUE_BYTES") = elkyn::kValueBytes;
    m.attr("MAX_SLOTS") = elkyn::kMaxSlots;
    m.attr("MAX_VALUE_BYTES") = elkyn::kMaxValueBytes;
    m.attr("MAX_PATH_BYTES") = elkyn::kMaxPath;
    nb::set_leak_warnings(true);
}
