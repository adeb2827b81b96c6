// libFuzzer: objects of every shape become rows and come back as they were; and any rows at all, from an
// iterator and with a decoder that do what they like meanwhile, keep within their bounds.
#define PY_SSIZE_T_CLEAN
#include <Python.h>

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

#include "../flatten.hpp"
#include "../unflatten.hpp"
#include "harness.hpp"

namespace {

class Input {
  public:
    Input(const std::uint8_t* data, std::size_t size) : rest_(reinterpret_cast<const char*>(data), size) {}
    [[nodiscard]] bool empty() const { return rest_.empty(); }
    unsigned byte() {
        if (rest_.empty()) return 0;
        const auto taken = static_cast<unsigned char>(rest_.front());
        rest_.remove_prefix(1);
        return taken;
    }
    std::string_view bytes(std::size_t most) {
        const std::string_view taken = rest_.substr(0, most);
        rest_.remove_prefix(taken.size());
        return taken;
    }

  private:
    std::string_view rest_;
};

PyObject* checked(PyObject* object) {
    if (object == nullptr) PyErr_Print();
    CHECK(object != nullptr);
    return object;
}

PyObject* to_bytes(std::string_view bytes) {
    return checked(PyBytes_FromStringAndSize(bytes.data(), static_cast<Py_ssize_t>(bytes.size())));
}

// Text of every kind, lone surrogates among it.
PyObject* to_text(std::string_view bytes) {
    const auto size = static_cast<Py_ssize_t>(bytes.size());
    PyObject* text = PyUnicode_DecodeUTF8(bytes.data(), size, "surrogateescape");
    return checked(text);
}

// --- there and back

PyObject* any_object(Input& input, int depth);

PyObject* any_dict(Input& input, int depth) {
    PyObject* dict = checked(PyDict_New());
    for (unsigned count = input.byte() % 5; count > 0 && !input.empty(); --count) {
        PyObject* name = input.byte() % 16 == 0 ? any_object(input, depth + 100)
                                                : to_text(input.bytes(input.byte() % 7 == 0 ? 120 : 3));
        PyObject* value = any_object(input, depth + 1);
        if (PyDict_SetItem(dict, name, value) < 0) PyErr_Clear();  // a list for a name
        Py_DECREF(name);
        Py_DECREF(value);
    }
    return dict;
}

PyObject* any_list(Input& input, int depth) {
    PyObject* list = checked(PyList_New(0));
    for (unsigned count = input.byte() % 20; count > 0 && !input.empty(); --count) {
        PyObject* item = any_object(input, depth + 1);
        CHECK(PyList_Append(list, item) == 0);
        Py_DECREF(item);
    }
    return list;
}

PyObject* any_object(Input& input, int depth) {
    const unsigned kind = input.byte() % 10;
    if (kind < 3 && depth < 80) return any_dict(input, depth);
    if (kind == 3 && depth < 80) return any_list(input, depth);
    if (kind == 4) return to_text(input.bytes(input.byte()));
    if (kind == 5) return to_bytes(input.bytes(input.byte()));
    if (kind == 6) {
        const std::string_view raw = input.bytes(8);
        double number = 0;
        raw.copy(reinterpret_cast<char*>(&number), raw.size());
        return checked(PyFloat_FromDouble(number));
    }
    if (kind == 7) {  // up to 72 bits
        const std::string_view raw = input.bytes(1 + input.byte() % 9);
        PyObject* number = PyObject_CallMethod(reinterpret_cast<PyObject*>(&PyLong_Type), "from_bytes", "y#s",
                                               raw.data(), static_cast<Py_ssize_t>(raw.size()), "big");
        return checked(number);
    }
    if (kind == 8) return PyBool_FromLong(static_cast<long>(input.byte() % 2));
    return Py_NewRef(input.byte() % 8 == 0 ? Py_Ellipsis : Py_None);
}

// What is no plain value comes back as its bytes.
PyObject* as_bytes(PyObject* /*module*/, PyObject* raw) { return Py_NewRef(raw); }
PyMethodDef as_bytes_method = {"as_bytes", as_bytes, METH_O, nullptr};

Py_ssize_t leaves_below(PyObject* dict) {
    Py_ssize_t count = 0;
    Py_ssize_t at = 0;
    PyObject* name = nullptr;
    PyObject* value = nullptr;
    while (PyDict_Next(dict, &at, &name, &value) != 0)
        count += PyDict_CheckExact(value) ? leaves_below(value) : 1;
    return count;
}

void there_and_back(Input& input) {
    const std::string prefix = '\0' + std::string(input.byte() % 3, 'k') + '\0';
    PyObject* key = to_bytes(prefix);
    PyObject* levels = PyLong_FromLong(static_cast<long>(input.byte() % 40));
    PyObject* object = any_dict(input, 0);
    PyObject* const args[] = {key, levels, object};
    PyObject* rows = elkyn::flatten(nullptr, args, 3);
    if (rows == nullptr) {
        CHECK(PyErr_ExceptionMatches(PyExc_ValueError) && PyLong_AsLong(levels) > elkyn::kMaxSegments);
        PyErr_Clear();
    } else if (rows != Py_None) {
        CHECK(PyList_Sort(rows) == 0);
        PyObject* decode = checked(PyCFunction_New(&as_bytes_method, nullptr));
        PyObject* const back_args[] = {key, rows, decode};
        PyObject* back = checked(elkyn::unflatten(nullptr, back_args, 3));
        CHECK((back == Py_None) == (PyList_GET_SIZE(rows) == 0));
        if (back != Py_None) CHECK(leaves_below(back) == PyList_GET_SIZE(rows));
        Py_DECREF(back);
        Py_DECREF(decode);
    }
    Py_XDECREF(rows);
    Py_DECREF(object);
    Py_DECREF(levels);
    Py_DECREF(key);
}

// --- any rows

// What the decoder has in its hands beside the bytes.
struct Mischief {
    PyObject* rows;
    Input* input;
};
Mischief mischief;

PyObject* misbehave(PyObject* /*module*/, PyObject* raw) {
    switch (mischief.input->byte() % 8) {
        case 0:
            PyErr_SetString(PyExc_ValueError, "not to be decoded");
            return nullptr;
        case 1:  // the rows go, also the one that is being decoded
            if (PyList_SetSlice(mischief.rows, 0, PyList_GET_SIZE(mischief.rows), nullptr) < 0)
                return nullptr;
            return PyLong_FromLong(1);
        case 2:
            PyGC_Collect();
            return PyDict_New();
        case 3:
            return PyDict_New();  // later rows lie below it
        default:
            return Py_NewRef(raw);
    }
}
PyMethodDef misbehave_method = {"misbehave", misbehave, METH_O, nullptr};

PyObject* any_row(Input& input, std::string_view prefix) {
    const unsigned kind = input.byte();
    if (kind % 32 == 0) return Py_NewRef(Py_None);
    std::string key(kind % 16 == 1 ? "" : prefix);
    const std::string_view rest = input.bytes(kind % 12);
    for (const char byte : rest) key.push_back(byte == '/' ? '\0' : byte);
    PyObject* raw = to_bytes(input.bytes(input.byte() % 12));
    PyObject* name = kind % 32 == 2 ? to_text(key) : to_bytes(key);
    PyObject* row = checked(PyTuple_Pack(2, name, raw));
    Py_DECREF(name);
    Py_DECREF(raw);
    return row;
}

void any_rows(Input& input) {
    const std::string prefix(input.bytes(input.byte() % 4));
    PyObject* rows = checked(PyList_New(0));
    for (unsigned count = input.byte() % 24; count > 0 && !input.empty(); --count) {
        PyObject* row = any_row(input, prefix);
        CHECK(PyList_Append(rows, row) == 0);
        Py_DECREF(row);
    }
    mischief = {rows, &input};
    PyObject* decode = checked(PyCFunction_New(&misbehave_method, nullptr));
    PyObject* key = to_bytes(prefix);
    PyObject* const args[] = {key, rows, decode};
    PyObject* object = elkyn::unflatten(nullptr, args, 3);
    CHECK((object == nullptr) == (PyErr_Occurred() != nullptr));
    PyErr_Clear();
    CHECK(object == nullptr || object == Py_None || PyDict_CheckExact(object));
    Py_XDECREF(object);
    Py_DECREF(key);
    Py_DECREF(decode);
    Py_DECREF(rows);
}

}  // namespace

extern "C" int LLVMFuzzerInitialize(int* /*argc*/, char*** /*argv*/) {
    Py_InitializeEx(0);
    return 0;
}

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    Input input(data, size);
    if (input.byte() % 2 == 0) {
        there_and_back(input);
    } else {
        any_rows(input);
    }
    return 0;
}
