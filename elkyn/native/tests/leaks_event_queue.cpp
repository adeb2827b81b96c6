// Steps for elkyn-leakcheck: what the ring does for each event leaves nothing, to the byte.
//
// Build it with -I leakcheck/adapters, then: elkyn-leakcheck run ./leaks_event_queue
#include <leakcheck.h>

#include <memory>

#include "../event_queue.hpp"
#include "harness.hpp"
#include "traffic.hpp"

namespace {

constexpr int kEvents = 16;  // of a step: a ring that is never empty would count what is in it

elkyn::EventQueue& queue() {
    static elkyn::EventQueue made;
    return made;
}

const traffic::Values& values() {
    static const traffic::Values made;
    return made;
}

std::uint64_t pushed = 0;

// The next event, of at most so many bytes.
void push(std::size_t most) {
    const std::uint64_t n = ++pushed;
    traffic::push(queue(), values(), n, traffic::size_of(n) % (most + 1));
}

// Takes all that is there; returns how many events that were.
int take() {
    elkyn::View view;
    elkyn::Gap gap;
    for (int seen = 0;;) {
        switch (queue().front(view, gap)) {
            case elkyn::Front::kEvent:
                queue().release();
                ++seen;
                continue;
            case elkyn::Front::kGap:
                continue;
            case elkyn::Front::kEmpty:
                return seen;
        }
    }
}

void push_and_pop() {
    for (int n = 0; n < kEvents; ++n) push(300);
    CHECK(take() == kEvents);
}

// More than there is room for: some are dropped, and the consumer is told of a gap.
void run_over() {
    for (std::size_t n = 0; n < elkyn::kSlots + kEvents; ++n) push(300);
    CHECK(take() > 0);
}

void make_and_end() {
    const auto made = std::make_unique<elkyn::EventQueue>();
    CHECK(!made->ready());
}

// What the tool must see, so that its "clean" means something: one block an iteration that nobody frees.
elkyn::Record* volatile last = nullptr;  // or a compiler would leave the block out
void forget_a_record() { last = new elkyn::Record; }

}  // namespace

LEAKCHECK_STEP(push_and_pop)
LEAKCHECK_STEP(run_over)
LEAKCHECK_STEP(make_and_end)
LEAKCHECK_STEP(forget_a_record)
LEAKCHECK_MAIN
