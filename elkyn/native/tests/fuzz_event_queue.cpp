// libFuzzer: any sequence of pushes, pops, settles and looks keeps the ring equal to a plain model; and any
// two byte strings keep the pattern matcher within its bounds.
#include <cstddef>
#include <cstdint>
#include <deque>
#include <string_view>

#include "../event_queue.hpp"
#include "../pattern.hpp"
#include "harness.hpp"
#include "traffic.hpp"

namespace {

const traffic::Values& values() {
    static const traffic::Values all;
    return all;
}

struct Expected {
    std::uint64_t seq;
    std::size_t size;
    std::size_t old_size;
};

class Input {
  public:
    Input(const std::uint8_t* data, std::size_t size) : data_(data), size_(size) {}
    [[nodiscard]] bool empty() const { return at_ >= size_; }
    std::uint32_t take(int bytes) {
        std::uint32_t value = 0;
        for (int i = 0; i < bytes; ++i) value = value << 8 | (at_ < size_ ? data_[at_++] : 0U);
        return value;
    }

  private:
    const std::uint8_t* data_;
    std::size_t size_;
    std::size_t at_ = 0;
};

void run(Input input) {
    elkyn::EventQueue queue;
    std::deque<Expected> model;
    std::uint64_t next_push = 1;
    std::uint64_t next_pop = 1;
    std::uint64_t settled = 1;
    std::size_t bytes = 0;
    std::size_t staged = 0;  // of the model's events, the last
    const auto show = [&] {
        queue.show();
        if (staged != 0) settled = model.back().seq + 1;
        staged = 0;
    };
    while (!input.empty()) {
        const std::uint32_t what = input.take(1);
        if (what < 150) {  // push, `what % 5 + 1` times
            const std::size_t size = input.take(3) % (elkyn::kValueBytes + 64);
            const std::size_t old_size = what % 2 == 0 ? 0 : input.take(3) % (elkyn::kValueBytes + 64);
            for (std::uint32_t times = 0; times <= what % 5; ++times) {
                const std::uint64_t seq = next_push++;
                const std::size_t value = size > elkyn::kValueBytes ? 0 : size;
                const std::size_t need = value + (value + old_size > elkyn::kValueBytes ? 0 : old_size);
                const bool room = model.size() < elkyn::kSlots && bytes + need <= elkyn::kValueBytes;
                CHECK(queue.room_for(1, need) == room);
                if (!room) show();
                const auto pushed = traffic::stage(queue, values(), seq, size, old_size);
                CHECK(pushed == (room ? elkyn::Push::kStored : elkyn::Push::kDropped));
                if (room) {
                    model.push_back({seq, size, old_size});
                    bytes += need;
                    ++staged;
                }
                if (staged == elkyn::kAtOnce) show();
                CHECK(queue.staged() == staged);
            }
            if (what % 3 != 0) show();
        } else if (what < 230) {  // pop
            for (std::uint32_t times = 0; times < what - 149; ++times) {
                elkyn::View view;
                elkyn::Gap gap;
                const auto front = queue.front(view, gap);
                if (front == elkyn::Front::kEmpty) {
                    CHECK(model.size() == staged && next_pop == settled);
                    break;
                }
                if (front == elkyn::Front::kGap) {
                    CHECK(gap.first == next_pop);
                    CHECK(gap.last == (model.size() == staged ? settled : model.front().seq) - 1);
                    next_pop = gap.last + 1;
                    continue;
                }
                const Expected expected = model.front();
                model.pop_front();
                CHECK(view.seq == expected.seq && view.seq == next_pop);
                traffic::check(view, values(), expected.size, expected.old_size);
                bytes -= view.value.size() + view.old.size();
                queue.release();
                ++next_pop;
            }
        } else if (what < 240) {
            show();
            queue.settle();
            settled = next_push;
        } else {
            const auto stats = queue.stats();
            CHECK(stats.pending == model.size() - staged);
            CHECK(staged != 0 || stats.bytes == bytes);
            CHECK(stats.popped + stats.dropped + stats.pending + staged == next_push - 1);
        }
    }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    if (size == 0) return 0;
    if (data[0] % 4 == 0) {
        const std::string_view text(reinterpret_cast<const char*>(data + 1), size - 1);
        const auto middle = text.size() / 2;
        (void)elkyn::matches(text.substr(0, middle), text.substr(middle));
        CHECK(text.empty() || text[0] != '/' || elkyn::matches("/**", text));
    } else {
        run(Input(data + 1, size - 1));
    }
    return 0;
}
