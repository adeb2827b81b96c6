// From the ring to Python: what the consumer sees of an event becomes an object that owns copies of it.
#pragma once

#include <nanobind/nanobind.h>

#include <array>
#include <cstddef>
#include <cstdint>
#include <string_view>
#include <utility>

#include "event.hpp"
#include "event_queue.hpp"

namespace elkyn {

inline nb::object bytes_of(const Pieces& pieces) {
    PyObject* bytes = PyBytes_FromStringAndSize(nullptr, static_cast<Py_ssize_t>(pieces.size()));
    if (bytes == nullptr) throw nb::python_error();
    pieces.copy_to(reinterpret_cast<std::byte*>(PyBytes_AS_STRING(bytes)));
    return nb::steal(bytes);
}

// For the consumer alone.
class EventMaker {
  public:
    explicit EventMaker(nb::object decode) : decode_(std::move(decode)) {}

    // Makes `event` the one in `view`: the same object again where nobody has kept it, else another. Raises
    // where memory is short, and has changed nothing then.
    void fill(PyObject*& event, const View& view) {
        nb::object path = path_of(view.path);
        nb::object raw = view.kind != kDelete && !view.omitted ? bytes_of(view.value) : nb::object();
        nb::object old_raw = view.has_old ? bytes_of(view.old) : nb::object();
        if (event == nullptr || !event_is_ours_alone(event)) {
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

    int traverse(visitproc visit, void* arg) const {
        Py_VISIT(decode_.ptr());
        return 0;
    }
    void forget_decode() { decode_ = nb::none(); }

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

    nb::object decode_;
    nb::handle event_type_ = nb::type<Event>();  // lives as long as the module
    nb::object last_path_;                       // the str of the event before, and the bytes it was made of
    std::array<char, kMaxPath> last_utf8_{};
    std::size_t last_size_ = 0;
};

}  // namespace elkyn
