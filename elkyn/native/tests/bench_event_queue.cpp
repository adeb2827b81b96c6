// What the ring costs between two threads, beside a plain copy of the same bytes. Prints one line of JSON.
#include <algorithm>
#include <array>
#include <chrono>
#include <cstdio>
#include <cstring>
#include <thread>
#include <vector>

#include "../event_queue.hpp"

namespace {

using Clock = std::chrono::steady_clock;
constexpr std::size_t kValue = 100;
constexpr std::size_t kEvent = 300;  // what one event occupies: slot and value
constexpr std::uint64_t kEvents = 64 * 10'000;

double nanoseconds_since(Clock::time_point begin) {
    return std::chrono::duration<double, std::nano>(Clock::now() - begin).count();
}

double ring_ns() {
    elkyn::EventQueue queue;
    std::array<std::byte, kValue> value{};
    elkyn::Record record;
    record.path = "/prices/ACME/last";
    record.value = value;
    const auto begin = Clock::now();
    std::thread consumer([&] {
        std::array<std::byte, kValue> out{};
        elkyn::View view;
        elkyn::Gap gap;
        for (std::uint64_t seen = 0; seen < kEvents;) {
            if (queue.front(view, gap) != elkyn::Front::kEvent) {
                std::this_thread::yield();
                continue;
            }
            view.value.copy_to(out.data());
            queue.release();
            ++seen;
        }
    });
    constexpr std::uint64_t kAtOnce =
        64;  // the bench counts events that arrive: it asks for room, but not each time
    for (std::uint64_t sent = 0; sent < kEvents; sent += kAtOnce) {
        while (!queue.room_for(kAtOnce, kAtOnce * kValue)) std::this_thread::yield();
        for (std::uint64_t n = 0; n < kAtOnce; ++n) queue.push(record);
    }
    consumer.join();
    return nanoseconds_since(begin) / static_cast<double>(kEvents);
}

double copy_ns() {
    // In and out of 300 KB, as the ring does it, in one thread; volatile pointers, so that the copies are
    // made.
    std::vector<char> ring(kEvent * 1024);
    std::array<char, kEvent> event{};
    std::array<char, kEvent> out{};
    char* volatile target = ring.data();
    char* volatile source = event.data();
    char* volatile sink = out.data();
    const auto begin = Clock::now();
    for (std::uint64_t n = 0; n < kEvents; ++n) {
        std::memcpy(target + n % 1024 * kEvent, source, kEvent);
        std::memcpy(sink, target + (n + 512) % 1024 * kEvent, kEvent);
    }
    return nanoseconds_since(begin) / static_cast<double>(kEvents);
}

double median(std::vector<double> all) {
    std::sort(all.begin(), all.end());
    return all[all.size() / 2];
}

}  // namespace

int main() {
    std::vector<double> ring;
    std::vector<double> copy;
    for (int run = 0; run < 15; ++run) {  // interleaved, so that a busy moment hits both
        ring.push_back(ring_ns());
        copy.push_back(copy_ns());
    }
    std::printf("{\"ring_ns\": %.2f, \"memcpy_ns\": %.2f}\n", median(ring), median(copy));
    return 0;
}
