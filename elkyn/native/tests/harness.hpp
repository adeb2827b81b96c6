// The smallest test harness that says where it failed: TEST(name) { CHECK(x); } and run_all().
#pragma once

#include <cstdio>
#include <cstdlib>
#include <vector>

namespace harness {

struct Test {
    const char* name;
    void (*body)();
};

inline std::vector<Test>& tests() {
    static std::vector<Test> all;
    return all;
}

struct Register {
    Register(const char* name, void (*body)()) { tests().push_back({name, body}); }
};

inline int run_all() {
    for (const Test& test : tests()) {
        test.body();
        std::printf("  ok %s\n", test.name);
    }
    std::printf("%zu passed, 0 failed\n", tests().size());
    return 0;
}

}  // namespace harness

#define TEST(name)                                                  \
    static void name();                                             \
    static const harness::Register register_##name(#name, &(name)); \
    static void name()

// Not assert(): it must hold in optimised builds too.
#define CHECK(condition)                                                                 \
    do {                                                                                 \
        if (!(condition)) {                                                              \
            std::fprintf(stderr, "%s:%d: failed: %s\n", __FILE__, __LINE__, #condition); \
            std::abort();                                                                \
        }                                                                                \
    } while (false)
