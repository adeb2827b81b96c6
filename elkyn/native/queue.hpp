// The ring as Python has it: with its doorbell, its pace and the references that travel with the events.
#pragma once

#include <nanobind/nanobind.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <utility>

#include "delivery.hpp"
#include "doorbell.hpp"
#include "event_maker.hpp"
#include "event_queue.hpp"
#include "pace.hpp"

namespace elkyn {

static_assert(sizeof(PyObject*) <= sizeof(Record::receivers), "the ring carries a reference to a tuple");

// Marks one side of the ring as busy for the length of a call: a second thread on the same side is a bug of
// the caller that must not become a data race.
class Turn {
  public:
    Turn(std::atomic_flag& busy, const char* refusal) : busy_(busy) {
        if (busy_.test_and_set(std::memory_order_acquire)) throw nb::value_error(refusal);
    }
    ~Turn() { busy_.clear(std::memory_order_release); }
    Turn(const Turn&) = delete;
    Turn& operator=(const Turn&) = delete;

  private:
    std::atomic_flag& busy_;
};

#ifdef Py_GIL_DISABLED
using ProducerTurn = Turn;
#else
// The producer's calls hold the GIL from end to end: none can meet another, and a locked instruction less is
// a part of the push that can be measured.
struct ProducerTurn {
    ProducerTurn(std::atomic_flag& /*busy*/, const char* /*refusal*/) noexcept {}
};
#endif

enum class Next : std::uint8_t { kEvent, kNothing, kGap, kError };

// Both sides of the ring. It owns a reference to the receivers of each event that is in it.
class Queue {
  public:
    Queue(nb::object decode, std::size_t slots, std::size_t value_bytes)
        : ring_(slots, value_bytes), maker_(std::move(decode)) {}
    ~Queue() {
        if (!freed_) release_all();
    }
    Queue(const Queue&) = delete;
    Queue& operator=(const Queue&) = delete;

    // The event's sequence number, negative where the event was dropped: then the caller notes whose it was
    // and calls settle(), upon which the consumer sees the gap. No time: now.
    std::int64_t push(Record& record, PyObject* receivers) {
        const ProducerTurn turn(producing_, "push() is running in another thread: the ring has one producer");
        if (closed_.load(std::memory_order_acquire)) throw nb::value_error("the event queue is closed");
        if (record.timestamp_ns == 0) record.timestamp_ns = now_ns();
        // The slot owns this reference until the event is delivered: a dropped event gives it back at once.
        nb::object owned = nb::borrow(receivers);
        record.receivers = reinterpret_cast<std::uintptr_t>(receivers);
        const auto seq = static_cast<std::int64_t>(ring_.next_seq());
        // The events of a commit are shown together, as far as they fit.
        switch (record.last ? ring_.push(record) : ring_.stage(record)) {
            case Push::kStored:
                owned.release();
                if (record.last || ring_.staged() == 0) bell_.ring();
                // A nap gathers a burst, but never so much that the ring could run full before its end.
                if (bell_.napping() && ring_.half_full()) bell_.hurry();
                return seq;
            case Push::kDropped:
                return -seq;
            case Push::kInvalid:
                break;
        }
        throw nb::value_error("an event's path must have 1 to 256 bytes");
    }

    // Shows what was pushed of a commit whose last event may not come.
    void show() {
        const ProducerTurn turn(producing_, "show() while another thread pushes: the ring has one producer");
        ring_.show();
        bell_.ring();
    }

    void settle() {
        const ProducerTurn turn(producing_,
                                "settle() while another thread pushes: the ring has one producer");
        ring_.settle();
        bell_.ring();
    }

    // --- delivery: what deliver() and hand_on() below are made of

    // False, with an error set, where another thread consumes.
    bool begin_delivery() noexcept {
        if (consuming_.test_and_set(std::memory_order_acquire)) {
            PyErr_SetString(PyExc_ValueError,
                            "deliver() is running in another thread: the ring has one consumer");
            return false;
        }
        if (!freed_) return true;
        consuming_.clear(std::memory_order_release);
        PyErr_SetString(PyExc_ValueError, "the event queue is closed");
        return false;
    }

    void end_delivery(std::size_t events) noexcept {
        pace_.popped(events);
        consuming_.clear(std::memory_order_release);
    }

    // Takes the next event out of the ring into `event`, an object that is used again where nobody has kept
    // it. Nothing also where something else is asked of the consumer: what was pushed after that has to wait
    // for it.
    Next take(PyObject*& event, PyObject*& receivers, Gap& gap) noexcept {
        View view;
        const Front front = ring_.front(view, gap);
        if (front == Front::kGap) return Next::kGap;
        if (front == Front::kEmpty || woken_.load(std::memory_order_seq_cst)) return Next::kNothing;
        // Copied before the slot is given back. Should the copy fail for want of memory, the event stays.
        try {
            maker_.fill(event, view);
        } catch (nb::python_error& error) {
            error.restore();
            return Next::kError;
        } catch (...) {
            PyErr_NoMemory();
            return Next::kError;
        }
        receivers = reinterpret_cast<PyObject*>(view.receivers);
        ring_.release();
        delivering(static_cast<std::int64_t>(view.seq));
        return Next::kEvent;
    }

    // What the consumer is at, for everyone to read.
    void delivering(std::int64_t seq) noexcept { seq_.store(seq, std::memory_order_relaxed); }
    void handled() noexcept { bump(handled_); }
    void measure_lag(PyObject* event) noexcept {
        lag_ns_.store(now_ns() - nb::inst_ptr<Event>(event)->timestamp_ns, std::memory_order_relaxed);
    }
    [[nodiscard]] std::int64_t seq() const noexcept { return seq_.load(std::memory_order_relaxed); }
    [[nodiscard]] std::uint64_t events_handled() const noexcept {
        return handled_.load(std::memory_order_relaxed);
    }
    [[nodiscard]] std::int64_t lag_ns() const noexcept { return lag_ns_.load(std::memory_order_relaxed); }

    // The consumer: has seen what it was woken for, or is about to look.
    void heed() noexcept { woken_.store(false, std::memory_order_seq_cst); }

    Running running;

    // Sleeps until there is something to pop, wake() or close() is called, or the time is over. Negative: no
    // limit. Where a burst is under way it sleeps a little longer, for the burst to gather.
    bool wait(double timeout_s) {
        const Turn turn(consuming_, "wait() while another thread consumes: the ring has one consumer");
        if (freed_) throw nb::value_error("the event queue is closed");
        const double ms = timeout_s < 0 ? -1 : std::ceil(std::min(timeout_s, 1e6) * 1e3);
        Woken woken = Woken::kRung;
        if (!urgent()) {
            const nb::gil_scoped_release released;
            pace_.begin();
            woken = bell_.wait(static_cast<int>(ms), [this] { return ring_.ready() || urgent(); });
            for (auto nap = pace_.nap_after(woken == Woken::kRung, ring_.pending()); nap.count() > 0;
                 nap = pace_.nap_on(ring_.pending())) {
                bell_.nap(ms < 0 ? nap : std::min(nap, Pace::Duration(static_cast<long>(ms * 1e6))),
                          [this] { return urgent() || ring_.half_full(); });
            }
        }
        // A handler for the signal may want to raise (KeyboardInterrupt).
        if (woken == Woken::kSignal && PyErr_CheckSignals() != 0) throw nb::python_error();
        return woken == Woken::kRung;
    }

    void wake() noexcept {
        woken_.store(true, std::memory_order_seq_cst);
        bell_.hurry();
    }

    void close() {
        closed_.store(true, std::memory_order_seq_cst);
        bell_.hurry();
    }

    // After close(), by the consumer or when it has gone: lets go of the events that nobody will pop any
    // more, and gives memory and descriptor back. Only the figures stay.
    std::uint64_t discard() {
        const ProducerTurn producer(producing_,
                                    "discard() while another thread pushes: close() and wait for it first");
        const Turn consumer(consuming_, "discard() while another thread consumes: the ring has one consumer");
        closed_.store(true, std::memory_order_seq_cst);
        if (std::exchange(freed_, true)) return 0;
        const std::uint64_t events = release_all();
        ring_.free_memory();
        bell_.close();
        return events;
    }

    [[nodiscard]] std::uint64_t settled() const noexcept { return ring_.settled(); }
    [[nodiscard]] std::uint64_t next_seq() const noexcept { return ring_.next_seq(); }
    [[nodiscard]] RingStats stats() const noexcept { return ring_.stats(); }
    [[nodiscard]] std::size_t slots() const noexcept { return ring_.capacity(); }
    [[nodiscard]] std::size_t value_bytes() const noexcept { return ring_.value_capacity(); }

    // What may lead back to the queue; the receivers of events in the ring are let go of by discard().
    int traverse(visitproc visit, void* arg) const {
        const int stop = running.traverse(visit, arg);
        return stop != 0 ? stop : maker_.traverse(visit, arg);
    }
    void clear() {
        running.set(nullptr);
        maker_.forget_decode();
    }

  private:
    [[nodiscard]] bool urgent() const noexcept {
        return woken_.load(std::memory_order_seq_cst) || closed_.load(std::memory_order_seq_cst);
    }

    std::uint64_t release_all() noexcept {
        ring_.show();
        View view;
        Gap gap;
        std::uint64_t events = 0;
        for (Front front = ring_.front(view, gap); front != Front::kEmpty; front = ring_.front(view, gap)) {
            if (front == Front::kGap) continue;
            Py_DECREF(reinterpret_cast<PyObject*>(view.receivers));
            ring_.release();
            ++events;
        }
        return events;
    }

    static std::int64_t now_ns() noexcept {
        const auto since_1970 = std::chrono::system_clock::now().time_since_epoch();
        return std::chrono::duration_cast<std::chrono::nanoseconds>(since_1970).count();
    }
    // One writer, so a load and a store do.
    static void bump(std::atomic<std::uint64_t>& counter) noexcept {
        counter.store(counter.load(std::memory_order_relaxed) + 1, std::memory_order_relaxed);
    }

    EventQueue ring_;
    Doorbell bell_;
    Pace pace_;
    EventMaker maker_;  // the consumer's
    std::atomic<bool> closed_{false};
    std::atomic<bool> woken_{false};
    // The consumer writes these for each event: on another line than what the producer reads for each.
    alignas(kLine) std::atomic<std::int64_t> seq_{0};  // of the event being delivered, or of the last one
    std::atomic<std::uint64_t> handled_{0};
    std::atomic<std::int64_t> lag_ns_{0};
    bool freed_ = false;  // changed only by who holds both sides' turns
    std::atomic_flag producing_ = ATOMIC_FLAG_INIT;
    std::atomic_flag consuming_ = ATOMIC_FLAG_INIT;
};

inline int queue_traverse(PyObject* self, visitproc visit, void* arg) {
    Py_VISIT(Py_TYPE(self));
    return nb::inst_ready(self) ? nb::inst_ptr<Queue>(self)->traverse(visit, arg) : 0;
}

inline int queue_clear(PyObject* self) {
    if (nb::inst_ready(self)) nb::inst_ptr<Queue>(self)->clear();
    return 0;
}

inline const PyType_Slot queue_slots[] = {{Py_tp_traverse, reinterpret_cast<void*>(queue_traverse)},
                                          {Py_tp_clear, reinterpret_cast<void*>(queue_clear)},
                                          {0, nullptr}};

}  // namespace elkyn
