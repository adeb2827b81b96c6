// Makes events whose bytes follow from their number, and checks that what comes out is what went in.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "../event_queue.hpp"
#include "harness.hpp"

namespace traffic {

inline std::uint64_t mix(std::uint64_t x) noexcept {  // splitmix64
    x += 0x9e3779b97f4a7c15ULL;
    x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9ULL;
    x = (x ^ (x >> 27)) * 0x94d049bb133111ebULL;
    return x ^ (x >> 31);
}

// Mostly small, sometimes nothing, now and then near or over what the whole buffer holds.
inline std::size_t size_of(std::uint64_t n) noexcept {
    const std::uint64_t r = mix(n);
    const std::uint64_t rest = r >> 16;
    switch (r % 2048) {
        case 0:
            return elkyn::kValueBytes - rest % 3;
        case 1:
            return elkyn::kValueBytes + 1 + rest % 4096;
        case 2:
        case 3:
            return rest % (elkyn::kValueBytes / 2);
        default:
            return r % 2048 < 64 ? 0 : rest % 300;
    }
}

// A window into bytes made once: a value of its own for every number, and nothing to compute in the hot path.
class Values {
  public:
    Values() : bytes_(elkyn::kValueBytes + 8192 + kPeriod) {
        for (std::size_t i = 0; i < bytes_.size(); ++i)
            bytes_[i] = static_cast<std::byte>(mix(i / 8) >> (i % 8 * 8));
    }
    [[nodiscard]] elkyn::Bytes of(std::uint64_t n, std::size_t size) const noexcept {
        return {bytes_.data() + n % kPeriod, size};
    }
    [[nodiscard]] bool same(const elkyn::Pieces& got, std::uint64_t n, std::size_t size) const noexcept {
        if (got.size() != size) return false;
        const elkyn::Bytes want = of(n, size);
        return std::equal(got.head.begin(), got.head.end(), want.begin()) &&
               std::equal(got.tail.begin(), got.tail.end(),
                          want.begin() + static_cast<std::ptrdiff_t>(got.head.size()));
    }

  private:
    static constexpr std::size_t kPeriod = 4093;
    std::vector<std::byte> bytes_;
};

class Path {
  public:
    explicit Path(std::uint64_t n) noexcept : size_(1 + n % elkyn::kMaxPath) {
        for (std::size_t i = 0; i < size_; ++i) bytes_[i] = static_cast<char>('a' + (n + i) % 26);
    }
    [[nodiscard]] std::string_view view() const noexcept { return {bytes_.data(), size_}; }

  private:
    std::size_t size_;
    std::array<char, elkyn::kMaxPath> bytes_;
};

// `n` is the sequence number the event will get.
inline elkyn::Push stage(elkyn::EventQueue& queue, const Values& values, std::uint64_t n, std::size_t size,
                         std::size_t old_size = 0) noexcept {
    const Path path(n);
    elkyn::Record record;
    record.path = path.view();
    record.rev = n * 3;
    record.timestamp_ns = static_cast<std::int64_t>(n) - 7;
    record.receivers = n ^ 0x55;
    record.kind = static_cast<std::uint8_t>(n % 2);
    record.last = n % 3 == 0;
    record.has_old = old_size != 0;
    record.value = values.of(n, size);
    record.old = values.of(n + 1, old_size);
    return queue.stage(record);
}

inline elkyn::Push push(elkyn::EventQueue& queue, const Values& values, std::uint64_t n, std::size_t size,
                        std::size_t old_size = 0) noexcept {
    const elkyn::Push pushed = stage(queue, values, n, size, old_size);
    queue.show();
    return pushed;
}

inline void check(const elkyn::View& view, const Values& values, std::size_t size, std::size_t old_size = 0) {
    const std::uint64_t n = view.seq;
    CHECK(view.path == Path(n).view());
    CHECK(view.rev == n * 3);
    CHECK(view.timestamp_ns == static_cast<std::int64_t>(n) - 7);
    CHECK(view.receivers == (n ^ 0x55));
    CHECK(view.kind == n % 2);
    CHECK(view.last == (n % 3 == 0));
    CHECK(view.size == size);
    const std::size_t carried = size > elkyn::kValueBytes ? 0 : size;
    const bool old_omitted = carried + old_size > elkyn::kValueBytes;
    CHECK(view.omitted == (size > elkyn::kValueBytes));
    CHECK(view.old_omitted == old_omitted);
    CHECK(view.has_old == (old_size != 0 && !old_omitted));
    CHECK(values.same(view.value, n, carried));
    CHECK(values.same(view.old, n + 1, old_omitted ? 0 : old_size));
}

}  // namespace traffic
