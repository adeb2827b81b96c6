// The bridge between the ring and Python: everything that leaves it is an owned Python copy.
#include <nanobind/nanobind.h>
#include <nanobind/stl/optional.h>
#include <nanobind/stl/string_view.h>

#include <array>
#include <atomic>
#include <chrono>
#include <cmath>
#include <cstring>
#include <limits>
#include <memory>
#include <optional>
#include <string_view>
#include <utility>

#include "block.hpp"
#include "delivery.hpp"
#include "doorbell.hpp"
#include "event.hpp"
#include "event_queue.hpp"
#include "pace.hpp"
#include "pattern.hpp"

namespace nb = nanobind;
using namespace nb::literals;

namespace {

using elkyn::Event;
using elkyn::EventQueue;
using elkyn::Front;
using elkyn::Gap;
using elkyn::Receiver;
using elkyn::View;

nb::object bytes_of(const elkyn::Pieces& pieces) {
    PyObject* bytes = PyBytes_FromStringAndSize(nullptr, static_cast<Py_ssize_t>(pieces.size()));
    if (bytes == nullptr) throw nb::python_error();
    pieces.copy_to(reinterpret_cast<std::byte*>(PyBytes_AS_STRING(bytes)));
    return nb::steal(bytes);
}

elkyn::Bytes bytes_view(PyObject* bytes) noexcept {
    return {reinterpret_cast<const std::byte*>(PyBytes_AS_STRING(bytes)),
            static_cast<std::size_t>(PyBytes_GET_SIZE(bytes))};
}

// Marks one side of the ring as busy for the length of a call: a second thread on the same side is a bug of
// the caller that must not become a data race.
class Turn {
  public:
    Turn(std::atomic_flag& busy, const char* refusal) : busy_(busy) {
        if (busy_.test_and_set(std::memory_order_acquire)) throw nb::value_error(refusal);
    }
    ~Turn() { busy_.clear(std::memory_order_release); }
    Turn(const Turn&) = delete;
    Turn& operator=(const Turn&) = delete;

  private:
    std::atomic_flag& busy_;
};

#ifdef Py_GIL_DISABLED
using ProducerTurn = Turn;
#else
// The producer's calls hold the GIL from end to end: none can meet another, and a locked instruction less is
// a part of the push that can be measured.
struct ProducerTurn {
    ProducerTurn(std::atomic_flag& /*busy*/, const char* /*refusal*/) noexcept {}
};
#endif

enum class Next : std::uint8_t { kEvent, kNothing, kGap, kError };

// The ring, its doorbell and the Python objects (the plans) that travel with the events.
class Queue {
  public:
    explicit Queue(nb::object decode) : decode_(std::move(decode)) {}
    ~Queue() {
        if (!freed_) release_all();
    }
    Queue(const Queue&) = delete;
    Queue& operator=(const Queue&) = delete;

    // The event's sequence number, negative where the event was dropped: then the caller notes whose it was
    // and calls settle(), upon which the consumer sees the gap. No time: now.
    std::int64_t push(elkyn::Record& record, PyObject* plan) {
        const ProducerTurn turn(producing_, "push() is running in another thread: the ring has one producer");
        if (closed_.load(std::memory_order_acquire)) throw nb::value_error("the event queue is closed");
        if (record.timestamp_ns == 0) record.timestamp_ns = now_ns();
        // The slot owns this reference until the event is delivered: a dropped event gives it back at once.
        nb::object owned = nb::borrow(plan);
        record.tag = reinterpret_cast<std::uintptr_t>(plan);
        const auto seq = static_cast<std::int64_t>(ring_.next_seq());
        switch (ring_.push(record)) {
            case elkyn::Push::kStored:
                owned.release();
                bell_.ring();
                // A nap gathers a burst, but never so much that the ring could run full before its end.
                if (bell_.napping() && ring_.half_full()) bell_.hurry();
                return seq;
            case elkyn::Push::kDropped:
                return -seq;
            case elkyn::Push::kInvalid:
                break;
        }
        throw nb::value_error("an event's path must have 1 to 256 bytes");
    }

    void settle() {
        const ProducerTurn turn(producing_,
                                "settle() while another thread pushes: the ring has one producer");
        ring_.settle();
        bell_.ring();
    }

    // --- delivery: what deliver() and hand_on() below are made of

    // False, with an error set, where another thread consumes.
    bool begin_delivery() noexcept {
        if (consuming_.test_and_set(std::memory_order_acquire)) {
            PyErr_SetString(PyExc_ValueError,
                            "deliver() is running in another thread: the ring has one consumer");
            return false;
        }
        if (!freed_) return true;
        consuming_.clear(std::memory_order_release);
        PyErr_SetString(PyExc_ValueError, "the event queue is closed");
        return false;
    }

    void end_delivery(std::size_t events) noexcept {
        pace_.popped(events);
        consuming_.clear(std::memory_order_release);
    }

    // Takes the next event out of the ring into `event`, an object that is used again where nobody has kept
    // it. Nothing also where something else is asked of the consumer: what was pushed after that has to wait
    // for it.
    Next take(PyObject*& event, PyObject*& plan, Gap& gap) noexcept {
        View view;
        const Front front = ring_.front(view, gap);
        if (front == Front::kGap) return Next::kGap;
        if (front == Front::kEmpty || woken_.load(std::memory_order_seq_cst)) return Next::kNothing;
        // Copied before the slot is given back. Should the copy fail for want of memory, the event stays.
        try {
            fill(event, view);
        } catch (nb::python_error& error) {
            error.restore();
            return Next::kError;
        } catch (...) {
            PyErr_NoMemory();
            return Next::kError;
        }
        plan = reinterpret_cast<PyObject*>(view.tag);
        ring_.release();
        delivering(static_cast<std::int64_t>(view.seq));
        return Next::kEvent;
    }

    // What the consumer is at, for everyone to read.
    void delivering(std::int64_t seq) noexcept { seq_.store(seq, std::memory_order_relaxed); }
    void handled() noexcept { bump(handled_); }
    void measure_lag(PyObject* event) noexcept {
        lag_ns_.store(now_ns() - nb::inst_ptr<Event>(event)->timestamp_ns, std::memory_order_relaxed);
    }
    [[nodiscard]] std::int64_t seq() const noexcept { return seq_.load(std::memory_order_relaxed); }
    [[nodiscard]] std::uint64_t events_handled() const noexcept {
        return handled_.load(std::memory_order_relaxed);
    }
    [[nodiscard]] std::int64_t lag_ns() const noexcept { return lag_ns_.load(std::memory_order_relaxed); }

    // The consumer: has seen what it was woken for, or is about to look.
    void heed() noexcept { woken_.store(false, std::memory_order_seq_cst); }

    elkyn::Running running;

    // Sleeps until there is something to pop, wake() or close() is called, or the time is over. Negative: no
    // limit. Where a burst is under way it sleeps a little longer, for the burst to gather.
    bool wait(double timeout_s) {
        const Turn turn(consuming_, "wait() while another thread consumes: the ring has one consumer");
        if (freed_) throw nb::value_error("the event queue is closed");
        const double ms = timeout_s < 0 ? -1 : std::ceil(std::min(timeout_s, 1e6) * 1e3);
        elkyn::Woken woken = elkyn::Woken::kRung;
        if (!urgent()) {
            const nb::gil_scoped_release released;
            pace_.begin();
            woken = bell_.wait(static_cast<int>(ms), [this] { return ring_.ready() || urgent(); });
            const auto nap = pace_.nap_after(woken == elkyn::Woken::kRung, ring_.pending());
            if (nap.count() > 0) {
                bell_.nap(ms < 0 ? nap : std::min(nap, elkyn::Pace::Duration(static_cast<long>(ms * 1e6))),
                          [this] { return urgent() || ring_.half_full(); });
            }
        }
        // A handler for the signal may want to raise (KeyboardInterrupt).
        if (woken == elkyn::Woken::kSignal && PyErr_CheckSignals() != 0) throw nb::python_error();
        return woken == elkyn::Woken::kRung;
    }

    void wake() noexcept {
        woken_.store(true, std::memory_order_seq_cst);
        bell_.hurry();
    }

    void close() {
        closed_.store(true, std::memory_order_seq_cst);
        bell_.hurry();
    }

    // After close(), by the consumer or when it has gone: lets go of the events that nobody will pop any
    // more, and gives memory and descriptor back. Only the figures stay.
    std::uint64_t discard() {
        const ProducerTurn producer(producing_,
                                    "discard() while another thread pushes: close() and wait for it first");
        const Turn consumer(consuming_, "discard() while another thread consumes: the ring has one consumer");
        closed_.store(true, std::memory_order_seq_cst);
        if (std::exchange(freed_, true)) return 0;
        const std::uint64_t events = release_all();
        ring_.free_memory();
        bell_.close();
        return events;
    }

    [[nodiscard]] std::uint64_t settled() const noexcept { return ring_.settled(); }
    [[nodiscard]] std::uint64_t next_seq() const noexcept { return ring_.next_seq(); }
    [[nodiscard]] elkyn::RingStats stats() const noexcept { return ring_.stats(); }

  private:
    // Events of one node tend to follow each other: they share one str.
    nb::object path_of(std::string_view utf8) {
        if (!last_path_.is_valid() || utf8 != std::string_view(last_utf8_.data(), last_size_)) {
            PyObject* path = PyUnicode_DecodeUTF8(utf8.data(), static_cast<Py_ssize_t>(utf8.size()), nullptr);
            if (path == nullptr) throw nb::python_error();
            last_path_ = nb::steal(path);
            last_size_ = utf8.copy(last_utf8_.data(), last_utf8_.size());
        }
        return last_path_;
    }

    void fill(PyObject*& event, const View& view) {
        nb::object path = path_of(view.path);
        nb::object raw = view.kind != elkyn::kDelete && !view.omitted ? bytes_of(view.value) : nb::object();
        nb::object old_raw = view.has_old ? bytes_of(view.old) : nb::object();
        if (event == nullptr || !elkyn::event_is_ours_alone(event)) {
            // Made in its place: a cast would first look whether Python knows the event already.
            nb::object fresh = nb::inst_alloc(event_type_);
            (new (nb::inst_ptr<Event>(fresh)) Event)->decode = decode_;
            nb::inst_mark_ready(fresh);
            Py_XSETREF(event, fresh.release().ptr());
        }
        Event& e = *nb::inst_ptr<Event>(event);
        e.path = std::move(path);
        e.raw = std::move(raw);
        e.old_raw = std::move(old_raw);
        e.value.reset();
        e.old.reset();
        e.rev = view.rev;
        e.seq = static_cast<std::int64_t>(view.seq);
        e.timestamp_ns = view.timestamp_ns;
        e.size = view.size;
        e.kind = view.kind;
        e.last = view.last;
        e.omitted = view.omitted;
        e.old_omitted = view.old_omitted;
    }

    [[nodiscard]] bool urgent() const noexcept {
        return woken_.load(std::memory_order_seq_cst) || closed_.load(std::memory_order_seq_cst);
    }

    std::uint64_t release_all() noexcept {
        View view;
        Gap gap;
        std::uint64_t events = 0;
        for (Front front = ring_.front(view, gap); front != Front::kEmpty; front = ring_.front(view, gap)) {
            if (front == Front::kGap) continue;
            Py_DECREF(reinterpret_cast<PyObject*>(view.tag));
            ring_.release();
            ++events;
        }
        return events;
    }

    static std::int64_t now_ns() noexcept {
        const auto since_1970 = std::chrono::system_clock::now().time_since_epoch();
        return std::chrono::duration_cast<std::chrono::nanoseconds>(since_1970).count();
    }
    // One writer, so a load and a store do.
    static void bump(std::atomic<std::uint64_t>& counter) noexcept {
        counter.store(counter.load(std::memory_order_relaxed) + 1, std::memory_order_relaxed);
    }

    EventQueue ring_;
    elkyn::Doorbell bell_;
    elkyn::Pace pace_;
    nb::object decode_;
    nb::handle event_type_ = nb::type<Event>();  // lives as long as the module
    nb::object last_path_;  // of the consumer: the str of the event before, and the bytes it was made of
    std::array<char, elkyn::kMaxPath> last_utf8_{};
    std::size_t last_size_ = 0;
    std::atomic<bool> closed_{false};
    std::atomic<bool> woken_{false};
    std::atomic<std::int64_t> seq_{0};  // of the event being delivered, or of the last one
    std::atomic<std::uint64_t> handled_{0};
    std::atomic<std::int64_t> lag_ns_{0};
    bool freed_ = false;  // changed only by who holds both sides' turns
    std::atomic_flag producing_ = ATOMIC_FLAG_INIT;
    std::atomic_flag consuming_ = ATOMIC_FLAG_INIT;
};

// Made without nanobind, whose look at seven arguments costs as much as the push: a tenth of a write is all
// that an event may take.
//
// push(path, rev, timestamp_ns, last, value, old, plan). No value: a delete.
PyObject* queue_push(PyObject* self, PyObject* const* args, Py_ssize_t nargs) {
    const auto bytes_or_none = [](PyObject* object) { return object == Py_None || PyBytes_Check(object); };
    if (nargs != 7 || !PyUnicode_Check(args[0]) || !PyLong_Check(args[1]) || !PyLong_Check(args[2]) ||
        !PyBool_Check(args[3]) || !bytes_or_none(args[4]) || !bytes_or_none(args[5]) ||
        !PyTuple_Check(args[6])) {
        PyErr_SetString(PyExc_TypeError,
                        "push() takes a path, two integers, a bool, two values (bytes or None) and a tuple");
        return nullptr;
    }
    elkyn::Record record;
    Py_ssize_t path_size = 0;
    const char* utf8 = PyUnicode_AsUTF8AndSize(args[0], &path_size);
    if (utf8 == nullptr) return nullptr;
    record.path = {utf8, static_cast<std::size_t>(path_size)};
    record.rev = PyLong_AsUnsignedLongLong(args[1]);
    record.timestamp_ns = PyLong_AsLongLong(args[2]);
    if (PyErr_Occurred() != nullptr) return nullptr;
    record.last = args[3] == Py_True;
    record.kind = args[4] == Py_None ? elkyn::kDelete : elkyn::kChange;
    record.has_old = args[5] != Py_None;
    if (args[4] != Py_None) record.value = bytes_view(args[4]);
    if (record.has_old) record.old = bytes_view(args[5]);
    try {
        return PyLong_FromLongLong(nb::inst_ptr<Queue>(self)->push(record, args[6]));
    } catch (const nb::builtin_exception& error) {
        PyErr_SetString(PyExc_ValueError, error.what());
        return nullptr;
    }
}

// The two methods below which handlers run are made without nanobind: see delivery.hpp.

// deliver(limit, failed): (how many events, the gap behind them or None).
PyObject* queue_deliver(PyObject* self, PyObject* const* args, Py_ssize_t nargs) {
    const Py_ssize_t limit = nargs == 2 ? PyLong_AsSsize_t(args[0]) : -1;
    if (limit < 0) {
        if (PyErr_Occurred() == nullptr)
            PyErr_SetString(PyExc_TypeError, "deliver() takes a limit and a function");
        return nullptr;
    }
    Queue& queue = *nb::inst_ptr<Queue>(self);
    if (!queue.begin_delivery()) return nullptr;
    PyObject* event = nullptr;
    PyObject* plan = nullptr;
    Gap gap;
    Next next = Next::kNothing;
    Py_ssize_t events = 0;
    while (events < limit && (next = queue.take(event, plan, gap)) == Next::kEvent) {
        if (events++ == 0) queue.measure_lag(event);
        if (!elkyn::hand_on(event, plan, args[1], queue.running)) next = Next::kError;
        Py_DECREF(plan);
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

// hand_on(event, plan, failed): one event that comes outside the ring's order.
PyObject* queue_hand_on(PyObject* self, PyObject* const* args, Py_ssize_t nargs) {
    if (nargs != 3 || !nb::isinstance<Event>(args[0]) || !PyTuple_Check(args[1])) {
        PyErr_SetString(PyExc_TypeError, "hand_on() takes an event, a tuple of receivers and a function");
        return nullptr;
    }
    Queue& queue = *nb::inst_ptr<Queue>(self);
    queue.delivering(nb::inst_ptr<Event>(args[0])->seq);
    const bool told = elkyn::hand_on(args[0], args[1], args[2], queue.running);
    queue.running.set(nullptr);
    return told ? Py_NewRef(Py_None) : nullptr;
}

PyMethodDef queue_methods[] = {
    {"push", reinterpret_cast<PyCFunction>(reinterpret_cast<void (*)()>(queue_push)), METH_FASTCALL,
     "Copies an event in and returns its number, negative where it was dropped for want of room."},
    {"deliver", reinterpret_cast<PyCFunction>(reinterpret_cast<void (*)()>(queue_deliver)), METH_FASTCALL,
     "Hands up to `limit` events to their receivers, fewer where the consumer is woken. Returns how many, "
     "and the gap behind them or None. `failed(receiver, error, by_handler)` is told of what raises."},
    {"hand_on", reinterpret_cast<PyCFunction>(reinterpret_cast<void (*)()>(queue_hand_on)), METH_FASTCALL,
     "Hands one event to the receivers in a plan, outside the ring's order."},
};

nb::object optional(PyObject* reference) { return reference == nullptr ? nb::none() : nb::steal(reference); }

nb::object optional_bytes(std::optional<nb::bytes> bytes) {
    return bytes ? nb::object(std::move(*bytes)) : nb::object();
}

void make_event(Event* self, nb::object decode, bool deleted, nb::str path, std::optional<nb::bytes> value,
                std::optional<nb::bytes> old, std::uint64_t rev, std::int64_t seq, bool last,
                std::int64_t timestamp_ns, std::uint64_t size, bool omitted, bool old_omitted) {
    new (self) Event{std::move(decode),
                     std::move(path),
                     optional_bytes(std::move(value)),
                     optional_bytes(std::move(old)),
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
                            "The ring with its doorbell.");
    queue.def(nb::init<nb::object>(), "decode"_a, "`decode` turns the bytes of a value into the value.")
        .def("settle", &Queue::settle, "Shows the consumer the drops so far, as a gap.")
        .def("wait", &Queue::wait, "timeout_s"_a, "Sleeps without the GIL until there is something to do.")
        .def("wake", &Queue::wake, "Ends a wait() from any thread, and a deliver() after the event it is at.")
        .def("heed", &Queue::heed, "Takes a wake() for heard; the consumer looks after that what it was for.")
        .def("close", &Queue::close, "Refuses further events and ends a wait(). Idempotent.")
        .def("discard", &Queue::discard,
             "Drops what is still in the ring, gives its memory back, and returns how many events that were.")
        .def("stats", &Queue::stats, "Wait-free figures.")
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
    for (PyMethodDef& method : queue_methods) {
        PyObject* descriptor = PyDescr_NewMethod(reinterpret_cast<PyTypeObject*>(queue.ptr()), &method);
        if (descriptor == nullptr) throw nb::python_error();
        nb::setattr(queue, method.ml_name, nb::steal(descriptor));
    }

    PyObject* block = PyType_FromSpec(&elkyn::block_spec);
    if (block == nullptr) throw nb::python_error();
    m.attr("Block") = nb::steal(block);

    m.def("matches", &elkyn::matches, "pattern"_a, "path"_a, "Whether `path` is one that `pattern` names.");
    m.def(
        "report_leaks", [](bool report) { nb::set_leak_warnings(report); }, "report"_a,
        "Whether to report at exit what of this module is still alive; on to begin with.");
    m.attr("SLOTS") = elkyn::kSlots;
    m.attr("VALUE_BYTES") = elkyn::kValueBytes;
    m.attr("MAX_PATH_BYTES") = elkyn::kMaxPath;
    nb::set_leak_warnings(true);
}
