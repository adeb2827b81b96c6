// An object on its way into the database: one row a leaf, its key and its value in msgpack.
//
// Only what is plain: dicts with names that paths can hold, and values of the very types that are stored. No
// code of the user's runs on the way, so nothing can change under it. Whatever else there is in an object (a
// name with a slash, a dict inside a list, a type that is refused) is left to Python, which handles it or
// says what is wrong: then the answer is None, and nothing has been kept.
#pragma once

#include <Python.h>

#include <bit>
#include <cstddef>
#include <cstdint>
#include <new>
#include <string>
#include <string_view>
#include <vector>

#include "event_queue.hpp"

namespace elkyn {

// Levels of the tree that a path can name (paths.py), and lists inside each other (values.py): both far from
// where the stack ends.
inline constexpr int kMaxSegments = 32;
inline constexpr int kMaxNesting = 64;

// Whether `name` can be a segment of a path: not empty, without '/', '*' and control characters.
inline bool is_segment(std::string_view name) noexcept {
    if (name.empty()) return false;
    for (std::size_t at = 0; at < name.size(); ++at) {
        const auto byte = static_cast<unsigned char>(name[at]);
        if (byte < 0x20 || byte == 0x7f || byte == '/' || byte == '*') return false;
        // U+0080 to U+009F, in UTF-8.
        if (byte == 0xc2 && at + 1 < name.size() && static_cast<unsigned char>(name[at + 1]) < 0xa0)
            return false;
    }
    return true;
}

// Writes msgpack as msgspec does: each number and length in its shortest form.
class Msgpack {
  public:
    // False where `value` is nothing plain. The bytes so far are worthless then.
    bool write(PyObject* value, int nesting) {
        if (value == Py_None) return byte(0xc0);
        if (PyBool_Check(value)) return byte(value == Py_True ? 0xc3 : 0xc2);
        if (PyLong_CheckExact(value)) return write_int(value);
        if (PyFloat_CheckExact(value))
            return byte(0xcb) && big_endian(std::bit_cast<std::uint64_t>(PyFloat_AS_DOUBLE(value)), 8);
        if (PyUnicode_CheckExact(value)) return write_str(value);
        if (PyBytes_CheckExact(value)) return write_bytes(value);
        if (PyList_CheckExact(value)) return write_list(value, nesting);
        return false;
    }
    [[nodiscard]] std::string_view bytes() const noexcept { return out_; }
    bool write_empty_object() { return byte(0x80); }

  private:
    bool byte(unsigned value) {
        out_.push_back(static_cast<char>(value));
        return true;
    }
    bool big_endian(std::uint64_t value, int size) {
        for (int shift = 8 * (size - 1); shift >= 0; shift -= 8)
            byte(static_cast<unsigned>(value >> shift) & 0xffU);
        return true;
    }
    bool raw(const char* data, std::size_t size) {
        out_.append(data, size);
        return true;
    }
    bool write_int(PyObject* value) {
        int overflow = 0;
        const long long number = PyLong_AsLongLongAndOverflow(value, &overflow);
        if (overflow != 0) return false;
        const auto bits = static_cast<std::uint64_t>(number);
        if (number >= 0) {
            if (number < 0x80) return byte(static_cast<unsigned>(number));
            if (number <= UINT8_MAX) return byte(0xcc) && big_endian(bits, 1);
            if (number <= UINT16_MAX) return byte(0xcd) && big_endian(bits, 2);
            if (number <= UINT32_MAX) return byte(0xce) && big_endian(bits, 4);
            return byte(0xcf) && big_endian(bits, 8);
        }
        if (number >= -32) return byte(static_cast<unsigned>(bits & 0xff));
        if (number >= INT8_MIN) return byte(0xd0) && big_endian(bits, 1);
        if (number >= INT16_MIN) return byte(0xd1) && big_endian(bits, 2);
        if (number >= INT32_MIN) return byte(0xd2) && big_endian(bits, 4);
        return byte(0xd3) && big_endian(bits, 8);
    }
    bool write_str(PyObject* value) {
        Py_ssize_t size = 0;
        const char* utf8 = PyUnicode_AsUTF8AndSize(value, &size);
        if (utf8 == nullptr) {  // a surrogate, which Python says
            PyErr_Clear();
            return false;
        }
        const auto length = static_cast<std::uint64_t>(size);
        if (length < 32) {
            byte(0xa0U | static_cast<unsigned>(length));
        } else if (length <= UINT8_MAX) {
            byte(0xd9) && big_endian(length, 1);
        } else if (length <= UINT16_MAX) {
            byte(0xda) && big_endian(length, 2);
        } else if (length <= UINT32_MAX) {
            byte(0xdb) && big_endian(length, 4);
        } else {
            return false;
        }
        return raw(utf8, static_cast<std::size_t>(size));
    }
    bool write_bytes(PyObject* value) {
        const auto length = static_cast<std::uint64_t>(PyBytes_GET_SIZE(value));
        if (length <= UINT8_MAX) {
            byte(0xc4) && big_endian(length, 1);
        } else if (length <= UINT16_MAX) {
            byte(0xc5) && big_endian(length, 2);
        } else if (length <= UINT32_MAX) {
            byte(0xc6) && big_endian(length, 4);
        } else {
            return false;
        }
        return raw(PyBytes_AS_STRING(value), static_cast<std::size_t>(length));
    }
    bool write_list(PyObject* value, int nesting) {
        if (nesting >= kMaxNesting) return false;
        const Py_ssize_t length = PyList_GET_SIZE(value);
        if (length < 16) {
            byte(0x90U | static_cast<unsigned>(length));
        } else if (length <= UINT16_MAX) {
            byte(0xdc) && big_endian(static_cast<std::uint64_t>(length), 2);
        } else if (static_cast<std::uint64_t>(length) <= UINT32_MAX) {
            byte(0xdd) && big_endian(static_cast<std::uint64_t>(length), 4);
        } else {
            return false;
        }
        for (Py_ssize_t at = 0; at < length; ++at)
            if (!write(PyList_GET_ITEM(value, at), nesting + 1)) return false;
        return true;
    }

    std::string out_;
};

// Gathers the rows of one object in memory of its own. Python allocates nothing meanwhile: that could start
// the garbage collector, whose finalizers are code of the user's and could change the object under the walk.
class Flattening {
  public:
    // Adds the rows of the non-empty `object`, whose children's keys begin with `key`. False where it is
    // nothing plain.
    bool add(PyObject* object, std::string& key, int levels, int nesting) {
        if (levels >= kMaxSegments || nesting >= kMaxNesting) return false;
        const std::size_t prefix = key.size();
        PyObject* name = nullptr;
        PyObject* value = nullptr;
        for (Py_ssize_t at = 0; PyDict_Next(object, &at, &name, &value) != 0; key.resize(prefix)) {
            if (!PyUnicode_CheckExact(name)) return false;
            Py_ssize_t size = 0;
            const char* utf8 = PyUnicode_AsUTF8AndSize(name, &size);
            if (utf8 == nullptr) {
                PyErr_Clear();
                return false;
            }
            const std::string_view segment(utf8, static_cast<std::size_t>(size));
            if (!is_segment(segment) || prefix + segment.size() > kMaxPath) return false;
            key += segment;
            if (PyDict_CheckExact(value) && PyDict_GET_SIZE(value) > 0) {
                key.push_back('\0');
                if (!add(value, key, levels + 1, nesting + 1)) return false;
            } else if (!add_leaf(value, key, nesting + 1)) {
                return false;
            }
        }
        return true;
    }

    // A list of (key, value). Null with an error set where memory is short.
    [[nodiscard]] PyObject* rows() const {
        PyObject* list = PyList_New(static_cast<Py_ssize_t>(leaves_.size()));
        std::size_t key = 0;
        std::size_t value = 0;
        for (std::size_t at = 0; list != nullptr && at < leaves_.size(); ++at) {
            const Leaf& leaf = leaves_[at];
            PyObject* row = PyTuple_New(2);
            if (row != nullptr) {
                PyTuple_SET_ITEM(row, 0, bytes_from(std::string_view(keys_).substr(key, leaf.key)));
                PyTuple_SET_ITEM(row, 1, bytes_from(values_.bytes().substr(value, leaf.value)));
                if (PyTuple_GET_ITEM(row, 0) == nullptr || PyTuple_GET_ITEM(row, 1) == nullptr) Py_CLEAR(row);
            }
            if (row == nullptr) Py_CLEAR(list);
            if (list != nullptr) PyList_SET_ITEM(list, static_cast<Py_ssize_t>(at), row);
            key += leaf.key;
            value += leaf.value;
        }
        return list;
    }

  private:
    static PyObject* bytes_from(std::string_view bytes) {
        return PyBytes_FromStringAndSize(bytes.data(), static_cast<Py_ssize_t>(bytes.size()));
    }

    struct Leaf {
        std::size_t key;  // bytes
        std::size_t value;
    };

    bool add_leaf(PyObject* value, std::string_view key, int nesting) {
        const std::size_t before = values_.bytes().size();
        if (PyDict_CheckExact(value) ? nesting >= kMaxNesting || !values_.write_empty_object()
                                     : !values_.write(value, nesting))
            return false;
        keys_ += key;
        leaves_.push_back({key.size(), values_.bytes().size() - before});
        return true;
    }

    std::string keys_;
    Msgpack values_;
    std::vector<Leaf> leaves_;
};

// flatten(prefix, levels, object): the rows of an object whose children's keys begin with `prefix`, which has
// so many levels; None where Python is to do it.
inline PyObject* flatten(PyObject* /*module*/, PyObject* const* args, Py_ssize_t nargs) {
    if (nargs != 3 || !PyBytes_Check(args[0]) || !PyLong_Check(args[1]) || !PyDict_CheckExact(args[2])) {
        PyErr_SetString(PyExc_TypeError, "flatten() takes the bytes of a prefix, its levels and a dict");
        return nullptr;
    }
    const long levels = PyLong_AsLong(args[1]);
    if (levels < 0 || levels > kMaxSegments) {
        if (PyErr_Occurred() == nullptr) PyErr_SetString(PyExc_ValueError, "levels are 0 to 32");
        return nullptr;
    }
#ifdef Py_GIL_DISABLED
    return Py_NewRef(
        Py_None);  // another thread may change the object meanwhile, which Python's own loops survive
#else
    try {
        std::string key(PyBytes_AS_STRING(args[0]), static_cast<std::size_t>(PyBytes_GET_SIZE(args[0])));
        Flattening flattening;
        if (!flattening.add(args[2], key, static_cast<int>(levels), 0)) return Py_NewRef(Py_None);
        return flattening.rows();
    } catch (const std::bad_alloc&) {
        return PyErr_NoMemory();
    }
#endif
}

inline PyMethodDef flatten_method = {
    "flatten", reinterpret_cast<PyCFunction>(reinterpret_cast<void (*)()>(flatten)), METH_FASTCALL,
    "The rows of a plain object, (key, value in msgpack) a leaf; None where it is not plain. `prefix` is "
    "what the "
    "children's keys begin with, and `levels` how many segments that has."};

}  // namespace elkyn
