// The ring between two threads: a producer at full speed, a consumer that lags and sleeps, every byte
// checked.
//
// Usage: stress_event_queue [events]. A third thread reads the figures all the while.
#include <atomic>
#include <cstdlib>
#include <thread>

#include "../doorbell.hpp"
#include "../event_queue.hpp"
#include "harness.hpp"
#include "traffic.hpp"

int main(int argc, char** argv) {
    const std::uint64_t events = argc > 1 ? std::strtoull(argv[1], nullptr, 10) : 300000;
    const traffic::Values values;
    elkyn::EventQueue queue;
    elkyn::Doorbell bell;
    std::atomic<bool> done{false};

    std::thread producer([&] {
        for (std::uint64_t n = 1; n <= events; ++n) {
            // Now careless, so that the ring runs over, now patient, so that all sizes get through.
            const std::size_t size = traffic::size_of(n);
            const std::size_t need = elkyn::Load(size, 0).bytes();
            if (n / 8192 % 4 != 0) {
                while (!queue.room_for(1, need)) std::this_thread::yield();
            }
            if (traffic::stage(queue, values, n, size) == elkyn::Push::kDropped) queue.settle();
            if (traffic::mix(n) % 8 < 3 || n == events) queue.show();  // alone, and in batches of some
            if (queue.staged() == 0) bell.ring();
            if (n % 1000 == 0 || (bell.napping() && queue.half_full())) bell.hurry();
        }
        done.store(true, std::memory_order_seq_cst);
        bell.ring();
    });

    std::thread observer([&] {
        while (!done.load(std::memory_order_acquire)) {
            const auto stats = queue.stats();
            CHECK(stats.pending <= elkyn::kSlots);
            CHECK(stats.popped <= stats.produced + 1);
            std::this_thread::yield();
        }
    });

    std::uint64_t seen = 0;
    std::uint64_t lost = 0;
    std::uint64_t next = 1;
    elkyn::View view;
    elkyn::Gap gap;
    for (;;) {
        switch (queue.front(view, gap)) {
            case elkyn::Front::kEvent:
                CHECK(view.seq == next);
                traffic::check(view, values, traffic::size_of(view.seq));
                queue.release();
                ++next;
                ++seen;
                // Lags now and then, so that the ring runs full.
                if (next % 50000 < 3) std::this_thread::sleep_for(std::chrono::milliseconds(2));
                continue;
            case elkyn::Front::kGap:
                CHECK(gap.first == next);
                CHECK(gap.last >= gap.first);
                next = gap.last + 1;
                lost += gap.lost();
                continue;
            case elkyn::Front::kEmpty:
                break;
        }
        if (done.load(std::memory_order_acquire) && !queue.ready()) break;
        if (next % 64 == 0)
            bell.nap(std::chrono::microseconds(20), [&] { return done.load(std::memory_order_seq_cst); });
        bell.wait(1000, [&] { return queue.ready() || done.load(std::memory_order_seq_cst); });
    }
    producer.join();
    observer.join();

    const auto stats = queue.stats();
    CHECK(next == events + 1);
    CHECK(seen + lost == events);
    CHECK(stats.produced == events);
    CHECK(stats.popped == seen);
    CHECK(stats.dropped == lost);
    CHECK(stats.pending == 0);
    CHECK(stats.bytes == 0);
    std::printf("  %llu events: %llu seen, %llu in gaps\n", static_cast<unsigned long long>(events),
                static_cast<unsigned long long>(seen), static_cast<unsigned long long>(lost));
    std::printf("1 passed, 0 failed\n");
    return 0;
}
