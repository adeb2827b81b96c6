// The planted leak: an entry is allocated, copied into, and forgotten.
#include <cstring>

namespace {

char* copy_of(const char* text) {
    char* copy = new char[std::strlen(text) + 1];
    std::strcpy(copy, text);
    return copy;
}

char* volatile latest = nullptr;

}  // namespace

extern "C" void planted_remember(const char* key) {
    latest = copy_of(key);  // the one before is lost
}
