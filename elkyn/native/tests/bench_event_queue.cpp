// What the ring costs between two threads, beside a peer that does the same work in the same run, and beside
// a plain copy of the same bytes. Prints JSON: a list of rows with the nanoseconds an event of each run, in
// turn.
//
// The peer is boost::lockfree::spsc_queue (Debian: libboost-dev). Its records carry what ours do: the
// numbers, a path of up to 256 bytes, 100 bytes of value. A second one, the small peer, has records made for
// this very path, which no other fits in; ours take values of any size as well. Both sides yield where there
// is no room, or nothing: what that costs is the scheduler's, and most of what one run differs from the next
// by. Pinned to two processors it differs less.
#include <pthread.h>

#include <algorithm>
#include <array>
#include <chrono>
#include <cstdint>
#include <cstdio>
#include <cstring>
#include <thread>
#include <vector>

#include "../event_queue.hpp"

#if __has_include(<boost/lockfree/spsc_queue.hpp>)
#include <boost/lockfree/spsc_queue.hpp>
#define HAS_PEER 1
#endif

namespace {

using Clock = std::chrono::steady_clock;
constexpr std::size_t kValue = 100;
constexpr std::size_t kEvent = 300;  // what one event occupies: slot and value
constexpr std::size_t kAtOnce = elkyn::kAtOnce;
constexpr std::uint64_t kEvents = kAtOnce * 10'000;
constexpr std::string_view kPath = "/prices/ACME/last";
constexpr int kRuns = 15;

double nanoseconds_since(Clock::time_point begin) {
    return std::chrono::duration<double, std::nano>(Clock::now() - begin).count();
}

void pin(bool pinned, unsigned processor) {
    if (!pinned) return;
    cpu_set_t set;
    CPU_ZERO(&set);
    CPU_SET(processor, &set);
    pthread_setaffinity_np(pthread_self(), sizeof set, &set);
}

// Runs both sides, each on a thread of its own, and returns nanoseconds an event.
template <typename Producer, typename Consumer>
double between_two_threads(bool pinned, Producer produce, Consumer consume) {
    const auto begin = Clock::now();
    std::thread consumer([&] {
        pin(pinned, 1);
        consume();
    });
    std::thread producer([&] {
        pin(pinned, 0);
        produce();
    });
    producer.join();
    consumer.join();
    return nanoseconds_since(begin) / static_cast<double>(kEvents);
}

double ring_ns(bool pinned, std::size_t at_once) {
    elkyn::EventQueue queue;
    std::array<std::byte, kValue> value{};
    return between_two_threads(
        pinned,
        [&] {
            elkyn::Record record;
            std::size_t size = kValue;
            asm volatile(""
                         : "+r"(size));  // any size, as it is for the ring: no copy that is made for this one
            record.path = kPath;
            record.value = elkyn::Bytes(value).first(size);
            for (std::uint64_t sent = 0; sent < kEvents; sent += at_once) {
                while (!queue.room_for(at_once, at_once * kValue)) std::this_thread::yield();
                for (std::size_t n = 0; n < at_once; ++n) queue.stage(record);
                queue.show();
            }
        },
        [&] {
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
}

#ifdef HAS_PEER
template <std::size_t kPathBytes>
struct PeerRecord {
    std::uint64_t seq, rev, timestamp_ns, receivers, size;
    std::uint16_t path_size;
    bool last;
    std::array<char, kPathBytes> path;
    std::array<std::byte, kValue> value;
};

template <typename PeerRecord>
double peer_ns(bool pinned, std::size_t at_once) {
    static boost::lockfree::spsc_queue<PeerRecord, boost::lockfree::capacity<1024>> queue;
    return between_two_threads(
        pinned,
        [&] {
            std::array<PeerRecord, kAtOnce> batch{};
            std::uint64_t seq = 0;
            for (std::uint64_t sent = 0; sent < kEvents; sent += at_once) {
                for (std::size_t n = 0; n < at_once; ++n) {
                    batch[n].seq = ++seq;
                    batch[n].path_size =
                        static_cast<std::uint16_t>(kPath.copy(batch[n].path.data(), kPath.size()));
                }
                for (std::size_t done = 0; done < at_once;) {
                    const std::size_t pushed = queue.push(batch.data() + done, at_once - done);
                    if (pushed == 0) std::this_thread::yield();
                    done += pushed;
                }
            }
        },
        [&] {
            std::array<PeerRecord, kAtOnce> batch{};
            std::array<std::byte, kValue> out{};
            for (std::uint64_t seen = 0; seen < kEvents;) {
                const std::size_t popped = queue.pop(batch.data(), at_once);
                if (popped == 0) std::this_thread::yield();
                for (std::size_t n = 0; n < popped; ++n) out = batch[n].value;
                seen += popped;
            }
            // So that the copies are made.
            asm volatile("" : : "r"(out.data()) : "memory");
        });
}
#endif

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

void print(const char* name, const std::vector<double>& all) {
    std::printf("\"%s\": ", name);
    for (std::size_t at = 0; at < all.size(); ++at) std::printf("%s%.2f", at == 0 ? "[" : ", ", all[at]);
    std::printf("]");
}

}  // namespace

int main() {
    const bool two = std::thread::hardware_concurrency() > 1;
    std::printf("[");
    const char* separator = "";
    for (const bool pinned : {false, true}) {
        if (pinned && !two) continue;
        for (const std::size_t at_once : {std::size_t{1}, kAtOnce}) {
            std::vector<double> ring;
            std::vector<double> peer;
            std::vector<double> small_peer;
            std::vector<double> copy;
            for (int run = 0; run < kRuns; ++run) {  // interleaved, so that a busy moment hits all
                ring.push_back(ring_ns(pinned, at_once));
#ifdef HAS_PEER
                peer.push_back(peer_ns<PeerRecord<elkyn::kMaxPath>>(pinned, at_once));
                small_peer.push_back(peer_ns<PeerRecord<24>>(pinned, at_once));
#endif
                copy.push_back(copy_ns());
            }
            std::printf("%s{\"pinned\": %s, \"at_once\": %zu, ", separator, pinned ? "true" : "false",
                        at_once);
            print("ring", ring);
            std::printf(", ");
            if (!peer.empty()) {
                print("peer", peer);
                std::printf(", ");
                print("small_peer", small_peer);
                std::printf(", ");
            }
            print("memcpy", copy);
            std::printf("}");
            separator = ",\n ";
        }
    }
    std::printf("]\n");
    return 0;
}
