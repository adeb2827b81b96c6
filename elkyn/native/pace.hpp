// When a consumer that was woken should let more gather before it works: in a burst, as drivers of network
// cards do.
//
// Each waking has the writer give up the GIL and wait to get it back, which costs as much as a dozen writes.
// A burst shows in wakings in close succession, and in what gathers while the consumer wakes up. After a few
// of these the consumer naps, and looks what the nap has brought. If several events, it was worth it: from
// then on the next such waking is followed by a nap at once. If not, then somebody waits for each event to be
// handled before the next is written, or commits many at a time, and naps only hold him up: they become rare.
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

    static constexpr Duration kClose{100'000};      // from the begin of a wait to an event
    static constexpr Duration kTrial{200'000};      // a nap that may not be worth it
    static constexpr Duration kNap{2'000'000};      // a nap that will be: half a ring of the fastest writes
    static constexpr std::size_t kGathered = 2;     // events: more than the one that woke the consumer
    static constexpr std::size_t kWorth = 4;        // events that a nap must bring
    static constexpr std::size_t kFirst = 4;        // wakings in a burst before the first trial
    static constexpr std::size_t kMost = 1U << 14;  // the same where many were in vain

    // The consumer has taken some events.
    void popped(std::size_t events) noexcept { gathered_ += events; }

    // The consumer begins to wait: whatever it had gathered is done.
    void begin(Clock::time_point now = Clock::now()) noexcept {
        const std::size_t gathered = std::exchange(gathered_, 0);
        if (std::exchange(napped_, false)) {
            worth_ = gathered >= before_nap_ + kWorth;
            needed_ = worth_ ? 1 : std::min(std::max(needed_, kFirst) * 2, kMost);
        }
        begun_ = now;
    }

    // How long to nap now that the wait is over and `pending` events are there; 0 is not at all.
    Duration nap_after(bool rung, std::size_t pending, Clock::time_point now = Clock::now()) noexcept {
        if (!rung || (now - begun_ >= kClose && pending < kGathered)) {
            in_burst_ = 0;
            return Duration{0};
        }
        if (++in_burst_ < needed_) return Duration{0};
        in_burst_ = 0;
        napped_ = true;
        before_nap_ = pending;
        return worth_ ? kNap : kTrial;
    }

  private:
    Clock::time_point begun_{};
    std::size_t gathered_ = 0;
    std::size_t before_nap_ = 0;  // events that were there
    std::size_t in_burst_ = 0;    // wakings
    std::size_t needed_ = kFirst;
    bool napped_ = false;
    bool worth_ = false;
};

}  // namespace elkyn
