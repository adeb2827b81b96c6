// An object on its way out of the database: rows of keys and values in msgpack become dicts.
//
// The rows come from a cursor, which may let other threads run, and one of those may end the interpreter: so
// nothing here has a destructor while the iterator or `decode` is called (as in delivery.hpp).
#pragma once

#include <Python.h>

#include <bit>
#include <cstddef>
#include <cstdint>
#include <string_view>

namespace elkyn {

namespace detail {

inline std::string_view view_of(PyObject* bytes) noexcept {
    return {PyBytes_AS_STRING(bytes), static_cast<std::size_t>(PyBytes_GET_SIZE(bytes))};
}

inline std::uint64_t big_endian(std::string_view bytes) noexcept {
    std::uint64_t number = 0;
    for (const char byte : bytes) number = number << 8 | static_cast<unsigned char>(byte);
    return number;
}

// A number, a short text, a bool or None that fills `raw` to its end. Null without an error set: something
// else.
inline PyObject* decode_plain(std::string_view raw) {
    if (raw.empty()) return nullptr;
    const auto first = static_cast<unsigned char>(raw[0]);
    const std::string_view rest = raw.substr(1);
    PyObject* text = nullptr;
    if (first >= 0xa0 && first <= 0xbf && rest.size() == (first & 0x1fU)) {
        text = PyUnicode_DecodeUTF8(rest.data(), static_cast<Py_ssize_t>(rest.size()), nullptr);
        if (text == nullptr) PyErr_Clear();  // the decoder says what is wrong, or that memory is short
        return text;
    }
    if (rest.empty()) {
        if (first < 0x80) return PyLong_FromLong(first);
        if (first >= 0xe0) return PyLong_FromLong(static_cast<long>(first) - 0x100);
        if (first == 0xc0) return Py_NewRef(Py_None);
        if (first == 0xc2 || first == 0xc3) return PyBool_FromLong(first & 1);
        return nullptr;
    }
    if (first == 0xcb && rest.size() == 8) return PyFloat_FromDouble(std::bit_cast<double>(big_endian(rest)));
    if (first >= 0xcc && first <= 0xcf && rest.size() == std::size_t{1} << (first - 0xcc))
        return PyLong_FromUnsignedLongLong(big_endian(rest));
    if (first >= 0xd0 && first <= 0xd3 && rest.size() == std::size_t{1} << (first - 0xd0)) {
        const auto unused = static_cast<int>(64 - 8 * rest.size());
        const auto high = static_cast<std::int64_t>(big_endian(rest) << unused);
        return PyLong_FromLongLong(high >> unused);
    }
    return nullptr;
}

inline PyObject* text_of(std::string_view utf8) {
    return PyUnicode_DecodeUTF8(utf8.data(), static_cast<Py_ssize_t>(utf8.size()), nullptr);
}

// Raises what the decoder raises for bytes that we have not written.
inline void damaged(const char* what) {
    PyObject* msgspec = PyImport_ImportModule("msgspec");
    PyObject* error = msgspec == nullptr ? nullptr : PyObject_GetAttrString(msgspec, "DecodeError");
    if (error != nullptr) PyErr_SetString(error, what);
    Py_XDECREF(error);
    Py_XDECREF(msgspec);
}

// The dict at `above`, names between separators, below `top`, with those on the way that are not there yet. A
// reference of the caller's; null with an error set.
inline PyObject* dict_at(PyObject* top, std::string_view above) {
    PyObject* parent = Py_NewRef(top);
    for (bool more = true; more && parent != nullptr;) {
        const std::size_t end = above.find('\0');
        more = end != std::string_view::npos;
        PyObject* name = text_of(above.substr(0, end));
        PyObject* child = name == nullptr ? nullptr : PyDict_GetItemWithError(parent, name);
        Py_XINCREF(child);
        if (name != nullptr && child == nullptr && PyErr_Occurred() == nullptr) {
            child = PyDict_New();
            if (child != nullptr && PyDict_SetItem(parent, name, child) < 0) Py_CLEAR(child);
        } else if (child != nullptr && !PyDict_CheckExact(child)) {
            Py_CLEAR(child);
            damaged("a key lies below a leaf");
        }
        Py_XDECREF(name);
        Py_DECREF(parent);
        parent = child;
        if (more) above.remove_prefix(end + 1);
    }
    return parent;
}

}  // namespace detail

// unflatten(prefix, rows, decode): the object whose leaves the leading `rows`, (key, value) in key order,
// are: those whose keys begin with `prefix`. None where there is none. `decode` is asked for what is no plain
// number or text.
inline PyObject* unflatten(PyObject* /*module*/, PyObject* const* args, Py_ssize_t nargs) {
    if (nargs != 3 || !PyBytes_Check(args[0])) {
        PyErr_SetString(PyExc_TypeError, "unflatten() takes the bytes of a prefix, rows and a decoder");
        return nullptr;
    }
    PyObject* rows = PyObject_GetIter(args[1]);
    PyObject* top = rows == nullptr ? nullptr : PyDict_New();
    PyObject* parent = Py_XNewRef(top);  // of the latest row
    PyObject* latest = nullptr;          // its row; the view below is of its key
    std::string_view above;              // what lies between the prefix and the name in that,
    bool below = false;                  // if anything does
    PyObject* row = nullptr;
    while (top != nullptr && (row = PyIter_Next(rows)) != nullptr) {
        if (!PyTuple_Check(row) || PyTuple_GET_SIZE(row) != 2 || !PyBytes_Check(PyTuple_GET_ITEM(row, 0)) ||
            !PyBytes_Check(PyTuple_GET_ITEM(row, 1))) {
            PyErr_SetString(PyExc_TypeError, "a row is a tuple of two bytes");
            Py_CLEAR(top);
            break;
        }
        std::string_view key = detail::view_of(PyTuple_GET_ITEM(row, 0));
        const std::string_view prefix = detail::view_of(args[0]);
        if (!key.starts_with(prefix)) break;
        key.remove_prefix(prefix.size());
        const std::size_t separator = key.rfind('\0');
        const bool deeper = separator != std::string_view::npos;
        const std::string_view place = deeper ? key.substr(0, separator) : std::string_view{};
        if (place != above || deeper != below) {  // rows come in key order: siblings follow each other
            Py_SETREF(parent, deeper ? detail::dict_at(top, place) : Py_NewRef(top));
        }
        above = place;
        below = deeper;
        Py_XSETREF(latest, row);  // keeps what `above` is a part of
        row = nullptr;
        PyObject* raw = PyTuple_GET_ITEM(latest, 1);
        PyObject* value = parent == nullptr ? nullptr : detail::decode_plain(detail::view_of(raw));
        if (parent != nullptr && value == nullptr && PyErr_Occurred() == nullptr)
            value = PyObject_CallOneArg(args[2], raw);
        PyObject* name =
            value == nullptr ? nullptr : detail::text_of(deeper ? key.substr(separator + 1) : key);
        if (name == nullptr || PyDict_SetItem(parent, name, value) < 0) Py_CLEAR(top);
        Py_XDECREF(name);
        Py_XDECREF(value);
    }
    if (PyErr_Occurred() != nullptr) Py_CLEAR(top);
    Py_XDECREF(row);
    Py_XDECREF(latest);
    Py_XDECREF(parent);
    Py_XDECREF(rows);
    if (top != nullptr && PyDict_GET_SIZE(top) == 0) Py_SETREF(top, Py_NewRef(Py_None));
    return top;
}

inline PyMethodDef unflatten_method = {
    "unflatten", reinterpret_cast<PyCFunction>(reinterpret_cast<void (*)()>(unflatten)), METH_FASTCALL,
    "The object whose leaves are the leading `rows`, (key, value in msgpack) in key order: those whose keys "
    "begin with "
    "`prefix`; None where there is none. `decode` is asked for values that are no plain number or text. "
    "Raises what "
    "that raises, `UnicodeDecodeError`, and msgspec's `DecodeError` for a key below a leaf."};

}  // namespace elkyn
