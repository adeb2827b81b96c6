// When a consumer that was woken should let more gather before it works: in a burst, as drivers of network
// cards do.
//
// Each waking has the writer give up the GIL and wait to get it back, which costs as much as a dozen writes.
// A burst shows in wakings in close succession, and in what gathers while the consumer wakes up. After a few
// of these the consumer naps, and looks what the nap has brought. If several events, it was worth it: from
// then on the next such waking is followed by a nap at once, and the first waking after a pause by a glance:
// a nap just long enough to see whether another burst begins. If not, then somebody waits for each event to
// be handled before the next is written, or commits many at a time, and naps only hold him up: they become
// rare.
#pragma once

#include <algorithm>
#include <chrono>
#include <cstddef>
#include <utility>

namespace elkyn {

class Pace {
  public:
    using Clock = std::chrono::steady_clock;
    using Duration = std::chrono::nanoseconds;

    // Nanoseconds from the begin of a wait to an event: a burst's events come closer than waking takes.
    static constexpr Duration kBurstGap{100'000};
    // Nanoseconds of a glance: some writes, and less than a hand-over of the GIL.
    static constexpr Duration kGlance{20'000};
    // Nanoseconds of a nap that may not be worth it: as much as a handler would be late by for nothing.
    static constexpr Duration kTrialNap{200'000};
    // Nanoseconds of a nap that will be: the fastest writes fill half a ring in it.
    static constexpr Duration kLongNap{2'000'000};
    // Events at a waking that show a burst: more than the one that woke the consumer.
    static constexpr std::size_t kBurstEvents = 2;
    // Events that a nap must bring: fewer would cost less by a waking each.
    static constexpr std::size_t kWorthwhileEvents = 4;
    // Wakings in a burst before the first trial: a pair of writes is none yet.
    static constexpr std::size_t kTrialAfter = 4;
    // The same where many trials were in vain: one in 16,384 costs nothing, and finds out that times have
    // changed.
    static constexpr std::size_t kMaxTrialAfter = 1U << 14;

    // The consumer has taken some events.
    void popped(std::size_t events) noexcept { gathered_ += events; }

    // The consumer begins to wait: whatever it had gathered is done.
    void begin(Clock::time_point now = Clock::now()) noexcept {
        const std::size_t gathered = std::exchange(gathered_, 0);
        if (std::exchange(napped_, false)) {
            worth_ = gathered >= before_nap_ + kWorthwhileEvents;
            needed_ = worth_ ? 1 : std::min(std::max(needed_, kTrialAfter) * 2, kMaxTrialAfter);
        }
        begun_ = now;
    }

    // How long to nap now that the wait is over and `pending` events are there; 0 is not at all.
    Duration nap_after(bool rung, std::size_t pending, Clock::time_point now = Clock::now()) noexcept {
        if (!rung || (now - begun_ >= kBurstGap && pending < kBurstEvents)) {
            in_burst_ = 0;
            return rung && worth_ ? nap(kGlance, pending) : Duration{0};
        }
        if (++in_burst_ < needed_) return Duration{0};
        in_burst_ = 0;
        return nap(worth_ ? kLongNap : kTrialNap, pending);
    }

    // How long to nap on now that a nap is over and `pending` events are there: where a glance has seen a
    // burst begin.
    Duration nap_on(std::size_t pending) noexcept {
        if (!std::exchange(glanced_, false) || pending < before_nap_ + kBurstEvents) return Duration{0};
        return nap(kLongNap, pending);
    }

  private:
    Duration nap(Duration length, std::size_t pending) noexcept {
        if (!napped_) before_nap_ = pending;
        napped_ = true;
        glanced_ = length == kGlance;
        return length;
    }

    Clock::time_point begun_{};
    std::size_t gathered_ = 0;
    std::size_t before_nap_ = 0;  // events that were there
    std::size_t in_burst_ = 0;    // wakings
    std::size_t needed_ = kTrialAfter;
    bool napped_ = false;
    bool glanced_ = false;
    bool worth_ = false;
};

}  // namespace elkyn
