// When the consumer naps: in bursts, and not where somebody waits for each event.
#include "../pace.hpp"
#include "harness.hpp"

namespace {

using elkyn::Pace;
using std::chrono::microseconds;

// A consumer on a clock of its own: each turn it takes some events and waits for the next.
struct Consumer {
    Pace pace;
    Pace::Clock::time_point now{};

    Pace::Duration turn(std::size_t events, microseconds until_next, bool rung = true,
                        std::size_t pending = 1) {
        pace.popped(events);
        pace.begin(now);
        now += until_next;
        return pace.nap_after(rung, pending, now);
    }
};

TEST(paced_events_are_never_held_up) {
    Consumer consumer;
    for (int n = 0; n < 10'000; ++n) CHECK(consumer.turn(1, microseconds(150)).count() == 0);
}

TEST(a_burst_is_gathered_from_its_first_waking_on_once_that_was_worth_it) {
    Consumer consumer;
    std::size_t wakings = 1;
    while (consumer.turn(1, microseconds(4)).count() == 0) ++wakings;
    CHECK(wakings == Pace::kTrialAfter);
    for (int n = 0; n < 100; ++n) CHECK(consumer.turn(500, microseconds(4)) == Pace::kLongNap);
    CHECK(consumer.turn(500, microseconds(1'000'000)) == Pace::kGlance);  // it is over
    CHECK(consumer.pace.nap_on(5) == Pace::kLongNap);                     // and here is the next
    CHECK(consumer.pace.nap_on(500).count() == 0);                        // slept enough
    CHECK(consumer.turn(500, microseconds(4)) == Pace::kLongNap);
}

TEST(a_glance_in_vain_is_the_last_one) {
    Consumer consumer;
    while (consumer.turn(1, microseconds(4)).count() == 0) {
    }
    CHECK(consumer.turn(500, microseconds(10'000)) == Pace::kGlance);
    CHECK(consumer.pace.nap_on(1).count() == 0);
    for (int n = 0; n < 10'000; ++n) CHECK(consumer.turn(1, microseconds(150)).count() == 0);
}

TEST(a_burst_after_a_pause_shows_in_what_gathered_while_the_consumer_woke_up) {
    Consumer consumer;
    while (consumer.turn(1, microseconds(4)).count() == 0) {
    }
    CHECK(consumer.turn(500, microseconds(4)) == Pace::kLongNap);
    CHECK(consumer.turn(500, microseconds(10'000), true, Pace::kBurstEvents) == Pace::kLongNap);
    CHECK(consumer.turn(500, microseconds(10'000), true, 20) == Pace::kLongNap);
}

TEST(commits_of_many_events_are_held_up_rarely_and_ever_more_so) {
    Consumer consumer;
    std::size_t naps = 0;
    for (int n = 0; n < 10'000; ++n) {
        const auto nap = consumer.turn(50, microseconds(10'000), true, 50);
        CHECK(nap <= Pace::kTrialNap);
        naps += nap.count() > 0;
    }
    CHECK(naps >= 2);
    CHECK(naps <= 20);
}

TEST(ping_pong_is_held_up_rarely_and_ever_more_so) {
    Consumer consumer;
    std::size_t naps = 0;
    Pace::Duration slept{};
    for (int n = 0; n < 100'000; ++n) {
        const auto nap = consumer.turn(1, microseconds(20));
        CHECK(nap <= Pace::kTrialNap);
        naps += nap.count() > 0;
        slept += nap;
    }
    CHECK(naps >= 2);
    CHECK(naps <= 20);
    CHECK(slept <= 100'000 * std::chrono::nanoseconds(100));  // on average, of 20 us each
    // A burst after it is recognised all the same.
    for (std::size_t n = 0; n < Pace::kMaxTrialAfter; ++n)
        if (consumer.turn(1, microseconds(4)).count() > 0) break;
    CHECK(consumer.turn(500, microseconds(4)) == Pace::kLongNap);
}

TEST(a_timeout_is_no_waking) {
    Consumer consumer;
    for (int n = 0; n < 100; ++n) CHECK(consumer.turn(0, microseconds(1), false).count() == 0);
}

}  // namespace

int main() { return harness::run_all(); }
