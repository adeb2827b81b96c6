// Wakes the one sleeping consumer of a ring: an eventfd that is written only when the consumer really sleeps.
#pragma once

#include <poll.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>
#include <chrono>
#include <cstdint>
#include <system_error>

namespace elkyn {

enum class Woken : std::uint8_t { kRung, kTimeout, kSignal };

class Doorbell {
  public:
    Doorbell() : fd_(::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)) {
        if (fd_ < 0) throw std::system_error(errno, std::generic_category(), "cannot make an eventfd");
    }
    ~Doorbell() { close(); }
    Doorbell(const Doorbell&) = delete;
    Doorbell& operator=(const Doorbell&) = delete;

    // Once the consumer has gone for good. Nobody writes to the descriptor then, since nobody sleeps on it.
    void close() noexcept {
        if (fd_ >= 0) ::close(fd_);
        fd_ = -1;
    }

    // Any thread. One fence and one load when nobody sleeps; the system call only on empty -> non-empty.
    void ring() noexcept {
        // Pairs with the fence in wait(): either we see the sleeper, or the sleeper sees what we published.
        std::atomic_thread_fence(std::memory_order_seq_cst);
        if (!sleeping_.load(std::memory_order_relaxed)) return;
        if (sleeping_.exchange(false, std::memory_order_acq_rel)) write_one();
    }

    // The consumer: sleeps until rung, unless `ready()` already holds. Never spins.
    template <typename Ready>
    Woken wait(int timeout_ms, Ready ready) noexcept {
        sleeping_.store(true, std::memory_order_relaxed);
        std::atomic_thread_fence(std::memory_order_seq_cst);
        if (ready()) {
            answer();
            return Woken::kRung;
        }
        pollfd waiting{fd_, POLLIN, 0};
        const int woken = ::poll(&waiting, 1, timeout_ms);
        const int error = errno;
        answer();
        if (woken > 0) return Woken::kRung;
        return woken < 0 && error == EINTR ? Woken::kSignal : Woken::kTimeout;
    }

    // The consumer: sleeps for `duration` although there may be work, so that a burst of it is done at one
    // go. ring() leaves it asleep; only hurry() wakes it.
    template <typename Urgent>
    void nap(std::chrono::nanoseconds duration, Urgent urgent) noexcept {
        napping_.store(true, std::memory_order_seq_cst);
        if (!urgent()) {
            pollfd waiting{fd_, POLLIN, 0};
            const timespec time{0, static_cast<long>(duration.count())};
            ::ppoll(&waiting, 1, &time, nullptr);
        }
        napping_.store(false, std::memory_order_seq_cst);
        answer();
    }

    // Any thread: whether the consumer is in a nap that hurry() would end.
    [[nodiscard]] bool napping() const noexcept { return napping_.load(std::memory_order_relaxed); }

    // Any thread: wakes the consumer from wait() and from nap() alike.
    void hurry() noexcept {
        std::atomic_thread_fence(std::memory_order_seq_cst);
        if (sleeping_.exchange(false, std::memory_order_acq_rel) ||
            napping_.exchange(false, std::memory_order_acq_rel))
            write_one();
    }

  private:
    void write_one() noexcept {
        const std::uint64_t one = 1;
        // Cannot fail: the counter stays far from its limit.
        [[maybe_unused]] const auto written = ::write(fd_, &one, sizeof one);
    }

    // Takes the ring back, so that one ring wakes one sleep. A ringer clears the flag before it writes: where
    // its write is still to come, it wakes the next sleep for nothing, which is harmless.
    void answer() noexcept {
        sleeping_.exchange(false, std::memory_order_acq_rel);
        std::uint64_t count = 0;
        [[maybe_unused]] const auto taken = ::read(fd_, &count, sizeof count);
    }

    int fd_;
    std::atomic<bool> sleeping_{false};
    std::atomic<bool> napping_{false};
};

}  // namespace elkyn
