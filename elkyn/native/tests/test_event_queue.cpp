// The ring in one thread: every promise of event_queue.hpp, one test each.
#include <new>
#include <string>

#include "../event_queue.hpp"
#include "../pattern.hpp"
#include "harness.hpp"
#include "traffic.hpp"

namespace {

std::uint64_t allocations = 0;

}  // namespace

// Counts every allocation of this program. Malloc underneath, so that the sanitizers still see them.
void* operator new(std::size_t size) {
    ++allocations;
    if (void* memory = std::malloc(size)) return memory;
    throw std::bad_alloc();
}
void* operator new[](std::size_t size) { return ::operator new(size); }
void operator delete(void* memory) noexcept { std::free(memory); }
void operator delete(void* memory, std::size_t) noexcept { std::free(memory); }
void operator delete[](void* memory) noexcept { std::free(memory); }
void operator delete[](void* memory, std::size_t) noexcept { std::free(memory); }

namespace {

using elkyn::EventQueue;
using elkyn::Front;
using elkyn::Gap;
using elkyn::kMaxPath;
using elkyn::kSlots;
using elkyn::kValueBytes;
using elkyn::Push;
using elkyn::View;
using traffic::Values;

const Values& values() {
    static const Values all;
    return all;
}

void expect_event(EventQueue& queue, std::uint64_t seq, std::size_t size, std::size_t old_size = 0) {
    View view;
    Gap gap;
    CHECK(queue.front(view, gap) == Front::kEvent);
    CHECK(view.seq == seq);
    traffic::check(view, values(), size, old_size);
    queue.release();
}

void expect_gap(EventQueue& queue, std::uint64_t first, std::uint64_t last) {
    View view;
    Gap gap;
    CHECK(queue.front(view, gap) == Front::kGap);
    CHECK(gap.first == first);
    CHECK(gap.last == last);
}

void expect_empty(EventQueue& queue) {
    View view;
    Gap gap;
    CHECK(queue.front(view, gap) == Front::kEmpty);
    CHECK(queue.empty());
    CHECK(!queue.ready());
}

TEST(what_goes_in_comes_out_in_order) {
    EventQueue queue;
    expect_empty(queue);
    for (std::uint64_t n = 1; n <= 100; ++n)
        CHECK(traffic::push(queue, values(), n, n * 7, n * 3) == Push::kStored);
    for (std::uint64_t n = 1; n <= 100; ++n) expect_event(queue, n, n * 7, n * 3);
    expect_empty(queue);
}

TEST(a_full_ring_drops_the_newest_and_shows_one_gap_in_its_place) {
    EventQueue queue;
    for (std::uint64_t n = 1; n <= kSlots; ++n) CHECK(traffic::push(queue, values(), n, 8) == Push::kStored);
    for (std::uint64_t n = kSlots + 1; n <= kSlots + 5; ++n)
        CHECK(traffic::push(queue, values(), n, 8) == Push::kDropped);
    expect_event(queue, 1, 8);
    CHECK(traffic::push(queue, values(), kSlots + 6, 8) == Push::kStored);
    for (std::uint64_t n = 2; n <= kSlots; ++n) expect_event(queue, n, 8);
    expect_gap(queue, kSlots + 1, kSlots + 5);
    expect_event(queue, kSlots + 6, 8);
    expect_empty(queue);
    CHECK(queue.stats().dropped == 5);
    CHECK(queue.stats().overflow_episodes == 1);
}

TEST(a_trailing_gap_is_seen_once_it_is_settled) {
    EventQueue queue;
    for (std::uint64_t n = 1; n <= kSlots; ++n) traffic::push(queue, values(), n, 0);
    CHECK(traffic::push(queue, values(), kSlots + 1, 0) == Push::kDropped);
    for (std::uint64_t n = 1; n <= kSlots; ++n) expect_event(queue, n, 0);
    expect_empty(queue);  // the producer has not yet noted whose event it was
    queue.settle();
    CHECK(queue.ready());
    expect_gap(queue, kSlots + 1, kSlots + 1);
    expect_empty(queue);
}

TEST(a_lagging_consumer_never_sees_overwritten_values) {
    EventQueue queue;
    std::uint64_t pushed = 1;
    std::uint64_t next = 1;
    while (pushed < 20000) {
        for (int burst = 0; burst < 37; ++burst, ++pushed) traffic::push(queue, values(), pushed, 2048);
        View view;
        Gap gap;
        for (int taken = 0; taken < 5; ++taken) {
            switch (queue.front(view, gap)) {
                case Front::kEvent:
                    CHECK(view.seq == next);
                    traffic::check(view, values(), 2048);
                    queue.release();
                    ++next;
                    break;
                case Front::kGap:
                    CHECK(gap.first == next);
                    next = gap.last + 1;
                    break;
                case Front::kEmpty:
                    break;
            }
        }
    }
    CHECK(queue.stats().dropped > 0);
}

TEST(a_value_of_exactly_the_buffer_fits_and_one_byte_more_is_flagged) {
    EventQueue queue;
    CHECK(traffic::push(queue, values(), 1, kValueBytes) == Push::kStored);
    CHECK(traffic::push(queue, values(), 2, 1) == Push::kDropped);  // no byte is left
    CHECK(traffic::push(queue, values(), 3, kValueBytes + 1) == Push::kStored);
    expect_event(queue, 1, kValueBytes);
    expect_gap(queue, 2, 2);
    expect_event(queue, 3, kValueBytes + 1);
    CHECK(queue.stats().omitted == 1);
    expect_empty(queue);
}

TEST(an_old_value_that_does_not_fit_beside_the_new_one_stays_behind_alone) {
    struct Sizes {
        std::size_t value, old;
        bool value_omitted, old_omitted;
    };
    const Sizes all[] = {
        {kValueBytes, 1, false, true},
        {kValueBytes - 1, 1, false, false},
        {1, kValueBytes, false, true},
        {1, kValueBytes - 1, false, false},
        {600 * 1024, 600 * 1024, false, true},
        {0, kValueBytes, false, false},  // a delete
        {0, kValueBytes + 1, false, true},
        {kValueBytes + 1, 1, true, false},
        {kValueBytes + 1, kValueBytes, true, false},
        {kValueBytes + 1, kValueBytes + 1, true, true},
    };
    EventQueue queue;
    std::uint64_t seq = 0;
    std::uint64_t omitted = 0;
    for (const Sizes& sizes : all) {
        CHECK(traffic::push(queue, values(), ++seq, sizes.value, sizes.old) == Push::kStored);
        View view;
        Gap gap;
        CHECK(queue.front(view, gap) == Front::kEvent);
        CHECK(view.omitted == sizes.value_omitted && view.old_omitted == sizes.old_omitted);
        CHECK(view.has_old == !sizes.old_omitted);
        CHECK(view.value.size() == (sizes.value_omitted ? 0 : sizes.value));
        CHECK(view.old.size() == (sizes.old_omitted ? 0 : sizes.old));
        CHECK(queue.stats().bytes == view.value.size() + view.old.size());
        expect_event(queue, seq, sizes.value, sizes.old);
        omitted += sizes.value_omitted || sizes.old_omitted;
        CHECK(queue.stats().bytes == 0 && queue.stats().omitted == omitted);
    }
    CHECK(traffic::push(queue, values(), ++seq, 9, 9) == Push::kStored);  // the flags do not stay in the slot
    expect_event(queue, seq, 9, 9);
    expect_empty(queue);
}

TEST(an_absurd_size_cannot_overflow_the_sum) {
    CHECK(elkyn::Load(SIZE_MAX, 1).bytes() == 1);
    CHECK(elkyn::Load(1, SIZE_MAX).bytes() == 1);
    CHECK(elkyn::Load(SIZE_MAX / 2 + 1, SIZE_MAX / 2 + 1).bytes() == 0);
    CHECK(elkyn::Load(kValueBytes, 0).bytes() == kValueBytes);
}

TEST(a_path_is_never_cut) {
    EventQueue queue;
    const std::string longest(kMaxPath, 'x');
    const std::string longer(kMaxPath + 1, 'x');
    elkyn::Record record;
    record.path = longer;
    CHECK(queue.push(record) == Push::kInvalid);
    record.path = {};
    CHECK(queue.push(record) == Push::kInvalid);
    CHECK(queue.stats().produced == 0);  // what is refused takes no number
    record.path = longest;
    CHECK(queue.push(record) == Push::kStored);
    View view;
    Gap gap;
    CHECK(queue.front(view, gap) == Front::kEvent);
    CHECK(view.path == longest);
}

TEST(nul_ends_nothing) {
    EventQueue queue;
    const char path[] = "/a\0b";
    const std::byte value[] = {std::byte{0}, std::byte{1}, std::byte{0}};
    elkyn::Record record;
    record.path = {path, 4};
    record.value = value;
    CHECK(queue.push(record) == Push::kStored);
    View view;
    Gap gap;
    CHECK(queue.front(view, gap) == Front::kEvent);
    CHECK(view.path.size() == 4);
    CHECK(view.value.size() == 3);
}

TEST(values_wrap_around_at_every_offset) {
    // A large value first, so that the next ones cross the end of the buffer at each possible byte of theirs.
    constexpr std::size_t kSpan = 67;
    for (std::size_t offset = 0; offset <= kSpan + 1; ++offset) {
        EventQueue queue;
        CHECK(traffic::push(queue, values(), 1, kValueBytes - offset) == Push::kStored);
        expect_event(queue, 1, kValueBytes - offset);
        for (std::uint64_t n = 2; n < 8; ++n) {
            CHECK(traffic::push(queue, values(), n, kSpan, n) == Push::kStored);
            expect_event(queue, n, kSpan, n);
        }
    }
}

TEST(slots_wrap_around_many_times) {
    EventQueue queue;
    for (std::uint64_t n = 1; n <= kSlots * 5 + 3; ++n) {
        CHECK(traffic::push(queue, values(), n, n % 50) == Push::kStored);
        expect_event(queue, n, n % 50);
    }
}

TEST(all_sizes_from_nothing_to_over_the_limit) {
    EventQueue queue;
    std::uint64_t n = 1;
    for (std::size_t size = 0; size <= kValueBytes + 4096; size = size < 64 ? size + 1 : size * 5 / 4, ++n) {
        CHECK(traffic::push(queue, values(), n, size) == Push::kStored);
        expect_event(queue, n, size);
    }
}

TEST(what_is_staged_is_seen_when_it_is_shown) {
    EventQueue queue;
    CHECK(traffic::stage(queue, values(), 1, 8) == Push::kStored);
    CHECK(traffic::stage(queue, values(), 2, 8) == Push::kStored);
    expect_empty(queue);
    CHECK(!queue.ready());
    CHECK(queue.staged() == 2);
    CHECK(queue.stats().pending == 0);
    queue.show();
    CHECK(queue.stats().pending == 2);
    expect_event(queue, 1, 8);
    CHECK(traffic::stage(queue, values(), 3, 8) == Push::kStored);
    CHECK(traffic::push(queue, values(), 4, 8) == Push::kStored);  // shows the one before it too
    for (std::uint64_t n = 2; n <= 4; ++n) expect_event(queue, n, 8);
    CHECK(traffic::stage(queue, values(), 5, 8) == Push::kStored);
    queue.settle();
    expect_event(queue, 5, 8);  // no gap in its place
    expect_empty(queue);
}

TEST(no_more_is_staged_than_is_shown_at_once) {
    EventQueue queue;
    for (std::uint64_t n = 1; n <= elkyn::kAtOnce + 1; ++n)
        CHECK(traffic::stage(queue, values(), n, 8) == Push::kStored);
    CHECK(queue.staged() == 1);
    CHECK(queue.stats().pending == elkyn::kAtOnce);
}

TEST(an_event_without_room_shows_what_is_staged) {
    EventQueue queue(8, 1024);
    for (std::uint64_t n = 1; n <= 8; ++n) CHECK(traffic::stage(queue, values(), n, 8) == Push::kStored);
    CHECK(queue.staged() == 8);
    CHECK(traffic::stage(queue, values(), 9, 8) == Push::kDropped);
    for (std::uint64_t n = 1; n <= 8; ++n) expect_event(queue, n, 8);
    CHECK(traffic::stage(queue, values(), 10, 8) == Push::kStored);
    expect_empty(queue);
    queue.show();
    expect_gap(queue, 9, 9);
    expect_event(queue, 10, 8);
}

TEST(room_for_says_what_push_then_does) {
    EventQueue queue;
    CHECK(queue.room_for(kSlots, kValueBytes));
    CHECK(!queue.room_for(kSlots + 1, 0));
    CHECK(!queue.room_for(1, kValueBytes + 1));
    for (std::uint64_t n = 1; n <= kSlots; ++n) {
        CHECK(queue.room_for(1, 1000));
        CHECK(traffic::push(queue, values(), n, 1000) == Push::kStored);
    }
    CHECK(!queue.room_for(1, 0));
    expect_event(queue, 1, 1000);
    CHECK(queue.room_for(1, 0));
    CHECK(!queue.room_for(2, 0));
}

TEST(figures_add_up) {
    EventQueue queue;
    for (std::uint64_t n = 1; n <= kSlots + 9; ++n) traffic::push(queue, values(), n, 10, 5);
    queue.settle();
    auto stats = queue.stats();
    CHECK(stats.produced == kSlots + 9);
    CHECK(stats.pending == kSlots);
    CHECK(stats.bytes == kSlots * 15);
    CHECK(stats.high_water == kSlots);
    CHECK(stats.high_water_bytes == kSlots * 15);
    for (std::uint64_t n = 1; n <= 10; ++n) expect_event(queue, n, 10, 5);
    stats = queue.stats();
    CHECK(stats.popped == 10);
    CHECK(stats.produced == stats.popped + stats.dropped + stats.pending);
    CHECK(stats.bytes == (kSlots - 10) * 15);
}

TEST(the_high_water_mark_is_of_what_was_pending_not_of_what_passed_through) {
    EventQueue queue;
    for (std::uint64_t n = 1; n <= 5000; ++n) {
        traffic::push(queue, values(), n, 10);
        expect_event(queue, n, 10);
    }
    CHECK(queue.stats().high_water == 1);
    CHECK(queue.stats().high_water_bytes == 10);
}

TEST(a_ring_of_another_size_holds_so_much_and_no_more) {
    EventQueue queue(5, 1000);  // rounded up
    CHECK(queue.capacity() == 8);
    CHECK(queue.value_capacity() == 1024);
    std::uint64_t next = 1;
    for (int lap = 0; lap < 100; ++lap) {
        for (std::uint64_t n = next; n < next + 8; ++n) {
            CHECK(queue.room_for(1, 100));
            CHECK(traffic::push(queue, values(), n, 100) == Push::kStored);
        }
        CHECK(!queue.room_for(1, 0));
        for (std::uint64_t n = next; n < next + 8; ++n) expect_event(queue, n, 100);
        next += 8;
    }
    CHECK(queue.room_for(2, 1024));
    CHECK(!queue.room_for(1, 1025));
}

TEST(push_and_pop_allocate_nothing) {
    EventQueue queue;
    (void)values();
    const std::uint64_t before = allocations;
    CHECK(before > 0);  // the counter counts
    View view;
    Gap gap;
    for (std::uint64_t n = 1; n <= 20000; ++n) {
        traffic::push(queue, values(), n, n % 500 == 0 ? kValueBytes + 1 : n % 4096, n % 7);
        if (n % 3 == 0 && queue.front(view, gap) == Front::kEvent) queue.release();
        (void)queue.stats();
        (void)queue.room_for(1, 1);
    }
    CHECK(allocations == before);
}

TEST(patterns_match_as_the_grammar_says) {
    using elkyn::matches;
    CHECK(matches("/", "/"));
    CHECK(!matches("/", "/a"));
    CHECK(matches("/**", "/"));
    CHECK(matches("/**", "/a/b"));
    CHECK(matches("/a/*", "/a/b"));
    CHECK(!matches("/a/*", "/a"));
    CHECK(!matches("/a/*", "/a/b/c"));
    CHECK(matches("/a/**", "/a"));
    CHECK(matches("/a/**", "/a/b/c"));
    CHECK(!matches("/a/**", "/ab"));
    CHECK(matches("/*/b/*/d", "/a/b/c/d"));
    CHECK(!matches("/*/b/*/d", "/a/b/c/e"));
    CHECK(!matches("", "/a"));
    CHECK(!matches("/a", ""));
    CHECK(!matches("a", "a"));
}

}  // namespace

int main() { return harness::run_all(); }
