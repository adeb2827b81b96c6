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

#include "doorbell.hpp"
#include "event_queue.hpp"
#include "pace.hpp"
#include "pattern.hpp"

namespace nb = nanobind;
using namespace nb::literals;

namespace {

using elkyn::EventQueue;
using elkyn::Front;
using elkyn::Gap;
using elkyn::View;

enum Kind : std::uint8_t { kChange = 0, kDelete = 1 };

// Interned once, so that the `type` of an event costs a reference.
PyObject* kind_name(std::uint8_t kind) noexcept {
    static PyObject* const change = PyUnicode_InternFromString("change");
    static PyObject* const deletion = PyUnicode_InternFromString("delete");
    return kind == kDelete ? deletion : change;
}

// One event as Python sees it. The value is decoded when it is first asked for: most filters never do.
struct Event {
    nb::object decode;
    nb::object path;
    nb::object raw;      // the encoded value, or null where there is none
    nb::object old_raw;  // the encoded value before the commit, or null
    nb::object value;    // decoded, or null as long as nobody has asked
    nb::object old;
    std::uint64_t rev = 0;
    std::int64_t seq = 0;
    std::int64_t timestamp_ns = 0;
    std::uint64_t size = 0;
    std::uint8_t kind = kChange;
    bool last = true;
    bool omitted = false;

    nb::object decoded(const nb::object& bytes, nb::object& cache) const {
        if (!cache.is_valid()) cache = bytes.is_valid() ? decode(bytes) : nb::none();
        return cache;
    }
    // msgpack's first byte tells arrays and maps, whose decoded form its owner may change, from scalars.
    static bool container(const nb::object& bytes) noexcept {
        if (!bytes.is_valid() || PyBytes_GET_SIZE(bytes.ptr()) == 0) return false;
        const auto first = static_cast<unsigned char>(PyBytes_AS_STRING(bytes.ptr())[0]);
        return (first >= 0x80 && first <= 0x9f) || (first >= 0xdc && first <= 0xdf);
    }
    [[nodiscard]] bool shareable() const noexcept { return !container(raw) && !container(old_raw); }
};

int event_traverse(PyObject* self, visitproc visit, void* arg) {
    Py_VISIT(Py_TYPE(self));
    if (!nb::inst_ready(self)) return 0;
    const Event& event = *nb::inst_ptr<Event>(self);
    Py_VISIT(event.decode.ptr());
    Py_VISIT(event.value.ptr());
    Py_VISIT(event.old.ptr());
    return 0;
}

int event_clear(PyObject* self) {
    if (!nb::inst_ready(self)) return 0;
    Event& event = *nb::inst_ptr<Event>(self);
    event.value.reset();
    event.old.reset();
    return 0;
}

const PyType_Slot event_slots[] = {{Py_tp_traverse, reinterpret_cast<void*>(event_traverse)},
                                   {Py_tp_clear, reinterpret_cast<void*>(event_clear)},
                                   {0, nullptr}};

nb::object event_copy(const Event& event, bool last) {
    Event copy = event;
    copy.value.reset();  // the copy decodes its own value: what a handler changes in it stays its own
    copy.old.reset();
    copy.last = last;
    return nb::cast(std::move(copy));
}

bool same(const nb::object& a, const nb::object& b) {
    return a.is_valid() ? b.is_valid() && a.equal(b) : !b.is_valid();
}

bool event_equal(const Event& a, const Event& b) {
    return a.kind == b.kind && a.rev == b.rev && a.seq == b.seq && a.last == b.last &&
           a.omitted == b.omitted && a.size == b.size && a.timestamp_ns == b.timestamp_ns &&
           a.path.equal(b.path) && same(a.raw, b.raw) && same(a.old_raw, b.old_raw);
}

nb::object bytes_of(const elkyn::Pieces& pieces) {
    PyObject* bytes = PyBytes_FromStringAndSize(nullptr, static_cast<Py_ssize_t>(pieces.size()));
    if (bytes == nullptr) throw nb::python_error();
    pieces.copy_to(reinterpret_cast<std::byte*>(PyBytes_AS_STRING(bytes)));
    return nb::steal(bytes);
}

elkyn::Bytes bytes_view(const nb::bytes& bytes) noexcept {
    return {reinterpret_cast<const std::byte*>(PyBytes_AS_STRING(bytes.ptr())),
            static_cast<std::size_t>(PyBytes_GET_SIZE(bytes.ptr()))};
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
    // and calls settle(), upon which the consumer sees the gap. No value: a delete. No time: now.
    std::int64_t push(nb::str path, std::uint64_t rev, std::int64_t timestamp_ns, bool last,
                      std::optional<nb::bytes> value, std::optional<nb::bytes> old, nb::object plan) {
        const Turn turn(producing_, "push() is running in another thread: the ring has one producer");
        if (closed_.load(std::memory_order_acquire)) throw nb::value_error("the event queue is closed");
        Py_ssize_t path_size = 0;
        const char* utf8 = PyUnicode_AsUTF8AndSize(path.ptr(), &path_size);
        if (utf8 == nullptr) throw nb::python_error();
        elkyn::Record record;
        record.path = {utf8, static_cast<std::size_t>(path_size)};
        record.kind = value ? kChange : kDelete;
        record.rev = rev;
        record.timestamp_ns = timestamp_ns != 0 ? timestamp_ns : now_ns();
        record.last = last;
        if (value) record.value = bytes_view(*value);
        if (old) record.old = bytes_view(*old);
        record.has_old = old.has_value();
        // The slot owns this reference until pop() hands it on: a dropped event gives it back at once.
        record.tag = reinterpret_cast<std::uintptr_t>(plan.ptr());
        const auto seq = static_cast<std::int64_t>(ring_.next_seq());
        switch (ring_.push(record)) {
            case elkyn::Push::kStored:
                plan.release();
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
        const Turn turn(producing_, "settle() while another thread pushes: the ring has one producer");
        ring_.settle();
        bell_.ring();
    }

    // Up to `limit` events with their plans, in two lists of one length, and the gap that follows them: the
    // first and last number of it, or None.
    nb::tuple pop(std::size_t limit) {
        const Turn turn(consuming_, "pop() is running in another thread: the ring has one consumer");
        if (freed_) throw nb::value_error("the event queue is closed");
        nb::list events;
        nb::list plans;
        nb::object missed = nb::none();
        View view;
        Gap gap;
        std::size_t count = 0;
        for (; count < limit; ++count) {
            const Front front = ring_.front(view, gap);
            if (front == Front::kEmpty) break;
            if (front == Front::kGap) {
                missed = nb::make_tuple(gap.first, gap.last);
                break;
            }
            // Copied before the slot is given back. Should the copy fail for want of memory, the event stays.
            nb::object event = copy_of(view);
            nb::object plan = nb::steal(reinterpret_cast<PyObject*>(view.tag));
            ring_.release();
            events.append(std::move(event));
            plans.append(std::move(plan));
        }
        pace_.popped(count);
        return nb::make_tuple(std::move(events), std::move(plans), std::move(missed));
    }

    // Sleeps until there is something to pop, wake() or close() is called, or the time is over. Negative: no
    // limit. Where a burst is under way it sleeps a little longer, for the burst to gather.
    bool wait(double timeout_s) {
        const Turn turn(consuming_, "wait() while another thread consumes: the ring has one consumer");
        if (freed_) throw nb::value_error("the event queue is closed");
        const double ms = timeout_s < 0 ? -1 : std::ceil(std::min(timeout_s, 1e6) * 1e3);
        elkyn::Woken woken = elkyn::Woken::kTimeout;
        {
            const nb::gil_scoped_release released;
            pace_.begin();
            woken = bell_.wait(static_cast<int>(ms), [this] { return ring_.ready() || urgent(); });
            const auto nap = pace_.nap_after(woken == elkyn::Woken::kRung);
            if (nap.count() > 0) {
                bell_.nap(ms < 0 ? nap : std::min(nap, elkyn::Pace::Duration(static_cast<long>(ms * 1e6))),
                          [this] { return urgent() || ring_.half_full(); });
            }
        }
        // A handler for the signal may want to raise (KeyboardInterrupt).
        if (woken == elkyn::Woken::kSignal && PyErr_CheckSignals() != 0) throw nb::python_error();
        woken_.store(false, std::memory_order_seq_cst);
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
        const Turn producer(producing_,
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

    nb::object copy_of(const View& view) {
        nb::object path = path_of(view.path);
        nb::object raw = view.kind != kDelete && !view.omitted ? bytes_of(view.value) : nb::object();
        nb::object old_raw = view.has_old ? bytes_of(view.old) : nb::object();
        // Made in its place: a cast would first look whether Python knows the event already.
        nb::object event = nb::inst_alloc(event_type_);
        new (nb::inst_ptr<Event>(event)) Event{decode_,
                                               std::move(path),
                                               std::move(raw),
                                               std::move(old_raw),
                                               {},
                                               {},
                                               view.rev,
                                               static_cast<std::int64_t>(view.seq),
                                               view.timestamp_ns,
                                               view.size,
                                               view.kind,
                                               view.last,
                                               view.omitted};
        nb::inst_mark_ready(event);
        return event;
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
    bool freed_ = false;  // changed only by who holds both sides' turns
    std::atomic_flag producing_ = ATOMIC_FLAG_INIT;
    std::atomic_flag consuming_ = ATOMIC_FLAG_INIT;
};

nb::object optional_bytes(std::optional<nb::bytes> bytes) {
    return bytes ? nb::object(std::move(*bytes)) : nb::object();
}

void make_event(Event* self, nb::object decode, bool deleted, nb::str path, std::optional<nb::bytes> value,
                std::optional<nb::bytes> old, std::uint64_t rev, std::int64_t seq, bool last,
                std::int64_t timestamp_ns, std::uint64_t size, bool omitted) {
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
                     deleted ? kDelete : kChange,
                     last,
                     omitted};
}

}  // namespace

NB_MODULE(_native, m) {
    m.doc() = "The native core of elkyn: the event ring, its events and the pattern matcher.";

    nb::class_<Event>(
        m, "Event", nb::is_final(), nb::is_weak_referenceable(), nb::type_slots(event_slots),
        "One change of one node, as delivered to handlers. Frozen; the value is the receiver's own copy.")
        .def("__init__", &make_event, "decode"_a, nb::kw_only(), "deleted"_a, "path"_a, "value"_a.none(),
             "old"_a.none(), "rev"_a, "seq"_a, "last"_a, "timestamp_ns"_a, "size"_a, "omitted"_a)
        .def_prop_ro(
            "type", [](const Event& e) { return nb::borrow(kind_name(e.kind)); }, "'change' or 'delete'.")
        .def_prop_ro(
            "path", [](const Event& e) { return e.path; }, "The node that changed, as an absolute path.")
        .def_prop_ro(
            "value", [](Event& e) { return e.decoded(e.raw, e.value); }, nb::lock_self(),
            "The node's value right after the commit; None for a delete or where it was omitted.")
        .def_prop_ro(
            "old", [](Event& e) { return e.decoded(e.old_raw, e.old); }, nb::lock_self(),
            "The node's value right before the commit, where the subscription asked for it; else None.")
        .def_ro("rev", &Event::rev, "The revision of the commit.")
        .def_ro("seq", &Event::seq,
                "The event's number in the store's stream: strictly increasing, dropped ones too.")
        .def_ro("last", &Event::last, "Whether this is the commit's last event for this subscription.")
        .def_ro("timestamp_ns", &Event::timestamp_ns, "When the commit was made, in nanoseconds since 1970.")
        .def_ro("value_omitted", &Event::omitted,
                "True where the value was too large to travel: read it by get().")
        .def_ro("size", &Event::size, "Bytes of the encoded value, also where it was omitted.")
        .def_prop_ro("shareable", &Event::shareable, "Whether several receivers may share this very object.")
        .def("copy", &event_copy, "last"_a, "A copy that decodes its own value.")
        .def(
            "matches",
            [](const Event& e, std::string_view pattern) {
                return elkyn::matches(pattern, nb::cast<std::string_view>(e.path));
            },
            "pattern"_a, "Whether the event's path is one that `pattern` names.")
        .def("__eq__",
             [](const Event& a, nb::handle other) -> nb::object {
                 if (!nb::isinstance<Event>(other)) return nb::borrow(Py_NotImplemented);
                 return nb::bool_(event_equal(a, nb::cast<const Event&>(other)));
             })
        .def("__hash__", [](const Event& e) { return nb::hash(nb::make_tuple(e.seq, e.path)); })
        .def("__repr__", [](nb::handle self) {
            const Event& e = nb::cast<const Event&>(self);
            return nb::str("Event(type={!r}, path={!r}, value={!r}, rev={}, seq={}, last={})")
                .format(nb::borrow(kind_name(e.kind)), e.path, self.attr("value"), e.rev, e.seq, e.last);
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

    nb::class_<Queue>(m, "Queue", nb::is_final(), nb::is_weak_referenceable(), "The ring with its doorbell.")
        .def(nb::init<nb::object>(), "decode"_a, "`decode` turns the bytes of a value into the value.")
        .def("push", &Queue::push, "path"_a, "rev"_a, "timestamp_ns"_a, "last"_a, "value"_a.none(),
             "old"_a.none(), "plan"_a,
             "Copies an event in and returns its number, negative where it was dropped for want of room.")
        .def("settle", &Queue::settle, "Shows the consumer the drops so far, as a gap.")
        .def("pop", &Queue::pop, "limit"_a,
             "Up to `limit` events and their plans, as two lists of one length, and the gap behind them or "
             "None.")
        .def("wait", &Queue::wait, "timeout_s"_a, "Sleeps without the GIL until there is something to do.")
        .def("wake", &Queue::wake, "Ends a wait() from any thread.")
        .def("close", &Queue::close, "Refuses further events and ends a wait(). Idempotent.")
        .def("discard", &Queue::discard,
             "Drops what is still in the ring, gives its memory back, and returns how many events that were.")
        .def("stats", &Queue::stats, "Wait-free figures.")
        .def_prop_ro("settled", &Queue::settled,
                     "The first number that is not decided yet: the next event's.");

    m.def("matches", &elkyn::matches, "pattern"_a, "path"_a, "Whether `path` is one that `pattern` names.");
    m.def(
        "report_leaks", [](bool report) { nb::set_leak_warnings(report); }, "report"_a,
        "Whether to report at exit what of this module is still alive; on to begin with.");
    m.attr("SLOTS") = elkyn::kSlots;
    m.attr("VALUE_BYTES") = elkyn::kValueBytes;
    m.attr("MAX_PATH_BYTES") = elkyn::kMaxPath;
    nb::set_leak_warnings(true);
}
