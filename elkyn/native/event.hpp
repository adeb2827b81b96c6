// An event as Python sees it.
#pragma once

#include <nanobind/nanobind.h>

#include <cstdint>
#include <utility>

namespace elkyn {

namespace nb = nanobind;

enum Kind : std::uint8_t { kChange = 0, kDelete = 1 };

// Interned once, so that the `type` of an event costs a reference.
inline PyObject* kind_name(std::uint8_t kind) noexcept {
    static PyObject* const change = PyUnicode_InternFromString("change");
    static PyObject* const deletion = PyUnicode_InternFromString("delete");
    return kind == kDelete ? deletion : change;
}

// The value is decoded when it is first asked for: most filters never do.
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
    bool old_omitted = false;

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
    // Whether several receivers may share this very object.
    [[nodiscard]] bool shareable() const noexcept { return !container(raw) && !container(old_raw); }
};

inline int event_traverse(PyObject* self, visitproc visit, void* arg) {
    Py_VISIT(Py_TYPE(self));
    if (!nb::inst_ready(self)) return 0;
    const Event& event = *nb::inst_ptr<Event>(self);
    Py_VISIT(event.decode.ptr());
    Py_VISIT(event.value.ptr());
    Py_VISIT(event.old.ptr());
    return 0;
}

inline int event_clear(PyObject* self) {
    if (!nb::inst_ready(self)) return 0;
    Event& event = *nb::inst_ptr<Event>(self);
    event.value.reset();
    event.old.reset();
    return 0;
}

inline const PyType_Slot event_slots[] = {{Py_tp_traverse, reinterpret_cast<void*>(event_traverse)},
                                          {Py_tp_clear, reinterpret_cast<void*>(event_clear)},
                                          {0, nullptr}};

// A copy decodes its own value: what a handler changes in it stays its own. Null with an error set where
// memory is short.
inline PyObject* event_copy(PyObject* self) noexcept {
    try {
        Event copy = *nb::inst_ptr<Event>(self);
        copy.value.reset();
        copy.old.reset();
        return nb::cast(std::move(copy)).release().ptr();
    } catch (...) {
        PyErr_NoMemory();
        return nullptr;
    }
}

// Whether nobody but the caller can ever see the event again, so that it may become another.
inline bool event_is_ours_alone(PyObject* self) noexcept {
#ifdef Py_GIL_DISABLED
    return false;  // counts of references are split among threads there
#else
    return Py_REFCNT(self) == 1 && *PyObject_GET_WEAKREFS_LISTPTR(self) == nullptr;
#endif
}

inline bool event_equal(const Event& a, const Event& b) {
    const auto same = [](const nb::object& x, const nb::object& y) {
        return x.is_valid() ? y.is_valid() && x.equal(y) : !y.is_valid();
    };
    return a.kind == b.kind && a.rev == b.rev && a.seq == b.seq && a.last == b.last &&
           a.omitted == b.omitted && a.old_omitted == b.old_omitted && a.size == b.size &&
           a.timestamp_ns == b.timestamp_ns && a.path.equal(b.path) && same(a.raw, b.raw) &&
           same(a.old_raw, b.old_raw);
}

}  // namespace elkyn
