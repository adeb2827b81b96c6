// A lock-free single-producer single-consumer ring of events: fixed memory, no silent loss.
//
// Slots with a 256-byte path array each (1024 of them), and beside them one circular buffer for the values
// (1 MiB). All of it is allocated in the constructor and nothing afterwards. An event that does not fit is
// dropped, but it has already taken its sequence number, so the consumer sees the hole and reports it as a
// Gap at its place in the stream.
//
// Threads: exactly one thread at a time may call push() (the store's mutex sees to it), exactly one may call
// front() and release(); stats() is wait-free for everyone.
#pragma once

#include <algorithm>
#include <array>
#include <atomic>
#include <bit>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <memory>
#include <span>
#include <string_view>

namespace elkyn {

// Events, where nobody asks for another number: a pause of some milliseconds at the fastest rate of writes.
inline constexpr std::size_t kSlots = 1024;
// The most that may be asked for: 300 MB of slots.
inline constexpr std::size_t kMaxSlots = std::size_t{1} << 20;
// Bytes of a path: it lies in its slot, so that an event has no memory of its own.
inline constexpr std::size_t kMaxPath = 256;
// Bytes of values, where nobody asks for another number: 1 KiB for each slot, and the limit of a single
// event.
inline constexpr std::size_t kValueBytes = std::size_t{1} << 20;
// Events of a batch that are shown together at most: to the other processor a thing shown is a cache line on
// its way, whose cost is nothing any more when so many share it.
inline constexpr std::size_t kAtOnce = 64;
// The most that may be asked for: sizes of values fit their fields.
inline constexpr std::size_t kMaxValueBytes = std::size_t{1} << 31;
// Bytes that keep the two sides apart. Two lines, not one: the adjacent-line prefetcher of x86 fetches lines
// in pairs.
inline constexpr std::size_t kLine = 128;

static_assert(std::has_single_bit(kSlots) && std::has_single_bit(kValueBytes),
              "positions are reduced by a mask");
static_assert(std::atomic<std::uint64_t>::is_always_lock_free);

using Bytes = std::span<const std::byte>;

// What the producer hands in. The bytes are copied before push() returns.
struct Record {
    std::string_view path;
    std::uint64_t rev = 0;
    std::int64_t timestamp_ns = 0;
    std::uintptr_t receivers = 0;  // opaque to the ring, and comes out with the event
    std::uint8_t kind = 0;
    bool last = true;
    bool has_old = false;
    Bytes value;
    Bytes old;
};

// A value as it lies in the circular buffer: in two pieces where it crosses the end.
struct Pieces {
    Bytes head;
    Bytes tail;

    [[nodiscard]] std::size_t size() const noexcept { return head.size() + tail.size(); }
    void copy_to(std::byte* out) const noexcept {
        if (!head.empty()) std::memcpy(out, head.data(), head.size());
        if (!tail.empty()) std::memcpy(out + head.size(), tail.data(), tail.size());
    }
};

// What the consumer sees: valid until release().
struct View {
    std::uint64_t seq = 0;
    std::string_view path;
    std::uint64_t rev = 0;
    std::int64_t timestamp_ns = 0;
    std::uintptr_t receivers = 0;
    std::uint8_t kind = 0;
    bool last = true;
    bool has_old = false;
    bool omitted = false;      // the value was larger than the whole buffer: only its size came through
    bool old_omitted = false;  // the old value did not fit beside it, and stayed behind
    std::uint64_t size = 0;    // of the value, also where it was omitted
    Pieces value;
    Pieces old;
};

// Sequence numbers that were taken by events which did not fit: both ends belong to the gap.
struct Gap {
    std::uint64_t first = 0;
    std::uint64_t last = 0;

    [[nodiscard]] std::uint64_t lost() const noexcept { return last - first + 1; }
};

enum class Front : std::uint8_t { kEmpty, kEvent, kGap };
enum class Push : std::uint8_t { kStored, kDropped, kInvalid };

// Figures of the ring. At rest produced == popped + dropped + pending.
struct RingStats {
    std::uint64_t produced = 0;           // sequence numbers taken
    std::uint64_t popped = 0;             // events released by the consumer
    std::uint64_t dropped = 0;            // events that did not fit
    std::uint64_t omitted = 0;            // events stored without their value or their old one
    std::uint64_t pending = 0;            // events in the ring now
    std::uint64_t bytes = 0;              // value bytes in the ring now
    std::uint64_t high_water = 0;         // most events ever pending
    std::uint64_t high_water_bytes = 0;   // most value bytes ever pending
    std::uint64_t overflow_episodes = 0;  // times the ring went from accepting to dropping
};

// What of an event's values goes into the buffer: a value that is larger than all of it stays behind, and so
// does an old value that does not fit beside the new one. Written without a sum that could wrap around.
struct Load {
    std::size_t value = 0;
    std::size_t old = 0;
    bool value_omitted = false;
    bool old_omitted = false;

    constexpr Load(std::size_t value_size, std::size_t old_size, std::size_t limit = kValueBytes) noexcept
        : value(value_size <= limit ? value_size : 0),
          old(old_size <= limit - value ? old_size : 0),
          value_omitted(value != value_size),
          old_omitted(old != old_size) {}
    [[nodiscard]] constexpr std::size_t bytes() const noexcept { return value + old; }
};

class EventQueue {
  public:
    // Both sizes are rounded up to a power of two.
    explicit EventQueue(std::size_t slots = kSlots, std::size_t value_bytes = kValueBytes)
        : capacity_(std::bit_ceil(std::clamp<std::size_t>(slots, 1, kMaxSlots))),
          value_capacity_(std::bit_ceil(std::clamp<std::size_t>(value_bytes, 1, kMaxValueBytes))),
          slots_(std::make_unique<Slot[]>(capacity_)),
          values_(std::make_unique<std::byte[]>(value_capacity_)) {}
    EventQueue(const EventQueue&) = delete;
    EventQueue& operator=(const EventQueue&) = delete;

    // Producer: stage() and show(): an event that the consumer may take at once.
    Push push(const Record& record) noexcept {
        const Push pushed = stage(record);
        show();
        return pushed;
    }

    // Producer: takes the next sequence number and copies the event in, or drops it when it does not fit now.
    // What is staged is shown by show(), and without it where `kAtOnce` events are, or one finds no room.
    // A drop becomes visible to the consumer by settle() (or by the next event shown), so that the producer
    // can first note whose event it was. kInvalid (a path that is empty or too long: never cut) takes no
    // sequence number.
    Push stage(const Record& record) noexcept {
        if (record.path.empty() || record.path.size() > kMaxPath) return Push::kInvalid;
        // Taken before anything can fail: a dropped event leaves a hole in the numbers, and so a trace.
        const std::uint64_t seq = next_seq_++;
        const Load load(record.value.size(), record.old.size(), value_capacity_);
        const std::size_t need = load.bytes();
        if (!room_for(1, need)) return drop();

        Slot& slot = slots_[staged_ & (capacity_ - 1)];
        slot.seq = seq;
        slot.rev = record.rev;
        slot.timestamp_ns = record.timestamp_ns;
        slot.receivers = record.receivers;
        slot.size = record.value.size();
        slot.value_begin = value_write_;
        slot.value_size = static_cast<std::uint32_t>(load.value);
        slot.old_size = static_cast<std::uint32_t>(load.old);
        slot.path_size = static_cast<std::uint16_t>(record.path.size());
        slot.kind = record.kind;
        slot.last = record.last;
        slot.has_old = record.has_old && !load.old_omitted;
        slot.omitted = load.value_omitted;
        slot.old_omitted = load.old_omitted;
        std::memcpy(slot.path.data(), record.path.data(), record.path.size());
        if (need != 0) {
            copy_in(value_write_, record.value.first(load.value));
            copy_in(value_write_ + load.value, record.old.first(load.old));
            value_write_ += need;
        }

        dropping_ = false;
        if (load.value_omitted || load.old_omitted) bump(omitted_, 1);
        ++staged_;
        --free_slots_;
        free_bytes_ -= need;
        decided_ = seq + 1;
        fetch_ahead();
        if (staged() >= kAtOnce) show();
        return Push::kStored;
    }

    // Producer: lets the consumer see what is staged.
    void show() noexcept {
        if (staged() == 0) return;
        note_high_water();
        value_written_.store(value_write_, std::memory_order_relaxed);
        // Publishes the slots: everything above happens before the consumer's acquire of write_.
        write_.store(staged_, std::memory_order_release);
        settled_.store(decided_, std::memory_order_release);
    }

    // Producer: shows what is staged, and that all numbers taken so far are decided.
    void settle() noexcept {
        show();
        settled_.store(next_seq_, std::memory_order_release);
    }

    // Producer: whether `events` events with `bytes` bytes of values in all would fit now. Room only grows
    // until the producer's next push, so a yes stays true. Where they do not, what is staged is shown: by
    // taking it the consumer makes room.
    [[nodiscard]] bool room_for(std::size_t events, std::size_t bytes) noexcept {
        // What was free when we looked last spares a read of the consumer's cache line on every push: we look
        // again only when the ring seems full, and old figures can only make it seem fuller than it is.
        if (events <= free_slots_ && bytes <= free_bytes_) return true;
        look_for_room();
        if (events <= free_slots_ && bytes <= free_bytes_) return true;
        show();
        return false;
    }

    // Consumer: what comes next. A Gap is consumed by being seen; an event stays until release().
    Front front(View& view, Gap& gap) noexcept {
        const std::uint64_t read = read_.load(std::memory_order_relaxed);  // our own variable
        if (read == cached_write_) {
            // The order matters: settled_ first. If the ring is still empty after that, every number below
            // `settled` was decided before we looked, and those not consumed were dropped.
            const std::uint64_t settled = settled_.load(std::memory_order_acquire);
            cached_write_ = write_.load(std::memory_order_acquire);
            if (read == cached_write_) {
                // Beyond it: push() had shown its event, which is consumed by now, but not yet its number.
                if (expected_seq_ >= settled) return Front::kEmpty;
                gap = Gap{expected_seq_, settled - 1};
                expected_seq_ = settled;
                return Front::kGap;
            }
        }
        const Slot& slot = slots_[read & (capacity_ - 1)];
        if (slot.seq != expected_seq_) {
            gap = Gap{expected_seq_, slot.seq - 1};
            expected_seq_ = slot.seq;
            return Front::kGap;
        }
        view.seq = slot.seq;
        view.path = std::string_view(slot.path.data(), slot.path_size);
        view.rev = slot.rev;
        view.timestamp_ns = slot.timestamp_ns;
        view.receivers = slot.receivers;
        view.kind = slot.kind;
        view.last = slot.last;
        view.has_old = slot.has_old;
        view.omitted = slot.omitted;
        view.old_omitted = slot.old_omitted;
        view.size = slot.size;
        view.value = pieces(slot.value_begin, slot.value_size);
        view.old = pieces(slot.value_begin + slot.value_size, slot.old_size);
        return Front::kEvent;
    }

    // Consumer: gives the slot and the bytes of the event that front() showed back to the producer.
    void release() noexcept {
        const std::uint64_t read = read_.load(std::memory_order_relaxed);
        const Slot& slot = slots_[read & (capacity_ - 1)];
        expected_seq_ = slot.seq + 1;
        value_read_.store(slot.value_begin + slot.value_size + slot.old_size, std::memory_order_relaxed);
        // Publishes that we have finished reading: the producer may overwrite from here on.
        read_.store(read + 1, std::memory_order_release);
    }

    // After the last push() and front(): gives the 1.3 MB back; the figures stay.
    void free_memory() noexcept {
        slots_.reset();
        values_.reset();
    }

    [[nodiscard]] bool empty() const noexcept {
        return read_.load(std::memory_order_acquire) == write_.load(std::memory_order_acquire);
    }

    // Consumer: how many events wait.
    [[nodiscard]] std::size_t pending() const noexcept {
        return write_.load(std::memory_order_acquire) - read_.load(std::memory_order_relaxed);
    }

    // Consumer: whether front() would show anything, a trailing gap included.
    [[nodiscard]] bool ready() const noexcept {
        return settled_.load(std::memory_order_seq_cst) > expected_seq_ || !empty();
    }

    // Either side: whether half of the slots or of the value bytes are taken.
    [[nodiscard]] bool half_full() const noexcept {
        const std::uint64_t read = read_.load(std::memory_order_acquire);
        const std::uint64_t value_read = value_read_.load(std::memory_order_relaxed);
        return write_.load(std::memory_order_relaxed) - read >= capacity_ / 2 ||
               value_written_.load(std::memory_order_relaxed) - value_read >= value_capacity_ / 2;
    }

    // How many events, and how many bytes of values, it holds at most.
    [[nodiscard]] std::size_t capacity() const noexcept { return capacity_; }
    [[nodiscard]] std::size_t value_capacity() const noexcept { return value_capacity_; }

    // The first number that is not decided yet.
    [[nodiscard]] std::uint64_t settled() const noexcept { return settled_.load(std::memory_order_acquire); }

    // Producer: how many events are staged and not shown.
    [[nodiscard]] std::size_t staged() const noexcept {
        return staged_ - write_.load(std::memory_order_relaxed);
    }

    // Producer: the number that the next push() takes.
    [[nodiscard]] std::uint64_t next_seq() const noexcept { return next_seq_; }

    [[nodiscard]] RingStats stats() const noexcept {
        RingStats s;
        // Read before what it bounds, so that a difference is never negative. Both sides move on between two
        // loads, of which the later one may be late by any time: what can be in the ring at most is the most
        // that is told.
        s.popped = read_.load(std::memory_order_acquire);
        const std::uint64_t value_read = value_read_.load(std::memory_order_relaxed);
        s.dropped = dropped_.load(std::memory_order_relaxed);
        s.omitted = omitted_.load(std::memory_order_relaxed);
        s.overflow_episodes = overflow_episodes_.load(std::memory_order_relaxed);
        s.high_water = high_water_.load(std::memory_order_relaxed);
        s.high_water_bytes = high_water_bytes_.load(std::memory_order_relaxed);
        s.pending = std::min<std::uint64_t>(write_.load(std::memory_order_acquire) - s.popped, capacity_);
        const std::uint64_t value_written =
            std::max(value_written_.load(std::memory_order_relaxed), value_read);
        s.bytes = std::min<std::uint64_t>(value_written - value_read, value_capacity_);
        s.produced = settled_.load(std::memory_order_acquire) - kFirstSeq;
        return s;
    }

  private:
    static constexpr std::uint64_t kFirstSeq = 1;
    // Events, with small values, that are pushed in the time that a cache line takes from one processor to
    // another.
    static constexpr std::uint64_t kAhead = 6;

    struct alignas(64) Slot {  // so that all but long paths lie in one or two cache lines
        std::uint64_t seq;
        std::uint64_t rev;
        std::int64_t timestamp_ns;
        std::uintptr_t receivers;
        std::uint64_t size;
        std::uint64_t value_begin;  // a position that only grows; masked where it becomes an index
        std::uint32_t value_size;
        std::uint32_t old_size;
        std::uint16_t path_size;
        std::uint8_t kind;
        bool last;
        bool has_old;
        bool omitted;
        bool old_omitted;
        alignas(64) std::array<char, kMaxPath> path;
    };
    static_assert(kMaxValueBytes <= UINT32_MAX && kMaxPath <= UINT16_MAX, "sizes fit their fields");
    static_assert(sizeof(Slot) <= 320, "about 300 bytes a slot");
    static_assert(offsetof(Slot, path) == 64, "a path of up to 64 bytes lies in the second cache line");

    // The value bytes in use begin at the oldest unread slot. That slot is the producer's own writing and the
    // consumer only reads it, so looking at it is no race.
    void look_for_room() noexcept {
        const std::uint64_t read = read_.load(std::memory_order_acquire);
        const std::uint64_t tail =
            read == staged_ ? value_write_ : slots_[read & (capacity_ - 1)].value_begin;
        free_slots_ = capacity_ - (staged_ - read);
        free_bytes_ = value_capacity_ - (value_write_ - tail);
    }

    // The old figures make the ring seem fuller than it is, so a record is believed only after a fresh look:
    // that costs one read of the consumer's line per `high_water_` events at most.
    void note_high_water() noexcept {
        const std::uint64_t marked = capacity_ - high_water_.load(std::memory_order_relaxed);
        const std::uint64_t marked_bytes =
            value_capacity_ - high_water_bytes_.load(std::memory_order_relaxed);
        if (free_slots_ >= marked && free_bytes_ >= marked_bytes) return;
        look_for_room();
        raise(high_water_, capacity_ - free_slots_);
        raise(high_water_bytes_, value_capacity_ - free_bytes_);
    }

    // Asks for what a push() some events from now will write. The consumer's processor has it from a lap ago,
    // and to wait for it then would cost more than all else that push() does.
    void fetch_ahead() const noexcept {
        const auto* slot = reinterpret_cast<const std::byte*>(&slots_[(staged_ + kAhead) & (capacity_ - 1)]);
        __builtin_prefetch(slot, 1);
        __builtin_prefetch(slot + 64, 1);
        __builtin_prefetch(values_.get() + ((value_write_ + kAhead * 128) & (value_capacity_ - 1)), 1);
    }

    Push drop() noexcept {
        if (!dropping_) bump(overflow_episodes_, 1);
        dropping_ = true;
        bump(dropped_, 1);
        return Push::kDropped;
    }

    void copy_in(std::uint64_t position, Bytes bytes) noexcept {
        if (bytes.empty()) return;
        const std::size_t begin = position & (value_capacity_ - 1);
        const std::size_t head = std::min(bytes.size(), value_capacity_ - begin);
        std::memcpy(values_.get() + begin, bytes.data(), head);
        if (head < bytes.size()) std::memcpy(values_.get(), bytes.data() + head, bytes.size() - head);
    }

    [[nodiscard]] Pieces pieces(std::uint64_t position, std::size_t size) const noexcept {
        const std::size_t begin = position & (value_capacity_ - 1);
        const std::size_t head = std::min(size, value_capacity_ - begin);
        return {Bytes(values_.get() + begin, head), Bytes(values_.get(), size - head)};
    }

    // One writer each, so a load and a store do: no locked instruction in the hot path.
    static void bump(std::atomic<std::uint64_t>& counter, std::uint64_t by) noexcept {
        counter.store(counter.load(std::memory_order_relaxed) + by, std::memory_order_relaxed);
    }
    static void raise(std::atomic<std::uint64_t>& mark, std::uint64_t to) noexcept {
        if (to > mark.load(std::memory_order_relaxed)) mark.store(to, std::memory_order_relaxed);
    }

    const std::size_t capacity_;  // powers of two
    const std::size_t value_capacity_;
    std::unique_ptr<Slot[]> slots_;
    std::unique_ptr<std::byte[]> values_;

    // Written by the producer alone. The padding keeps the two sides off each other's cache lines.
    alignas(kLine) std::atomic<std::uint64_t> write_{0};
    std::atomic<std::uint64_t> settled_{kFirstSeq};  // numbers below it are decided: stored or dropped
    std::uint64_t staged_ = 0;                       // where the next event goes
    std::uint64_t decided_ = kFirstSeq;              // behind the number of the latest one staged
    std::uint64_t next_seq_ = kFirstSeq;
    std::uint64_t value_write_ = 0;
    std::uint64_t free_slots_ = capacity_;  // when we looked last, less what was staged since
    std::uint64_t free_bytes_ = value_capacity_;
    bool dropping_ = false;
    std::atomic<std::uint64_t> value_written_{0};
    std::atomic<std::uint64_t> dropped_{0};
    std::atomic<std::uint64_t> omitted_{0};
    std::atomic<std::uint64_t> high_water_{0};
    std::atomic<std::uint64_t> high_water_bytes_{0};
    std::atomic<std::uint64_t> overflow_episodes_{0};

    // Written by the consumer alone.
    alignas(kLine) std::atomic<std::uint64_t> read_{0};
    std::uint64_t cached_write_ = 0;
    std::uint64_t expected_seq_ = kFirstSeq;
    std::atomic<std::uint64_t> value_read_{0};
};
static_assert(alignof(EventQueue) == kLine, "each side begins on lines of its own");

}  // namespace elkyn
