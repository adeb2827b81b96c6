// The paths of the latest writes with their revisions, oldest first, in a fixed block of memory: what a watch
// that resumes from a revision asks for. Not thread-safe: the store's mutex is held around every call.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <stdexcept>
#include <string>
#include <string_view>
#include <vector>

#include "event_queue.hpp"

namespace elkyn {

// Some 5,000 writes at paths of 40 bytes.
inline constexpr std::size_t kChangeLogBytes = std::size_t{256} << 10;

// One path that was written. `merged`: by update(), whose children are entries of their own.
struct Change {
    std::uint64_t rev = 0;
    bool merged = false;
    std::string path;
};

class ChangeLog {
  public:
    // Knows of every write after revision `rev`: none so far.
    explicit ChangeLog(std::uint64_t rev, std::size_t bytes = kChangeLogBytes)
        : memory_(bytes), complete_since_(rev), latest_(rev) {
        if (bytes < sizeof(Header) + kMaxPath)
            throw std::invalid_argument("a change log has room for a path");
    }

    // Notes a write that is about to be revision `rev`. Where its commit fails, another takes the number, and
    // what is noted of the first does no harm: one path more is looked at.
    void note(std::uint64_t rev, std::string_view path, bool merged) {
        if (path.size() > kMaxPath) throw std::invalid_argument("the path is too long");
        if (memory_.empty()) return;
        if (rev > latest_ + 1) complete_since_ = rev - 1;  // an interruption has kept some from being noted
        latest_ = rev;
        while (used_ + sizeof(Header) + path.size() > memory_.size()) drop_oldest();
        const Header header{rev, static_cast<std::uint32_t>(path.size()), merged ? 1U : 0U};
        put(&header, sizeof header);
        put(path.data(), path.size());
    }

    // Gives the memory back; from now on it knows of no write.
    void discard() noexcept {
        std::vector<char>().swap(memory_);
        used_ = oldest_ = 0;
        complete_since_ = UINT64_MAX;
    }

    // Whether all writes after revision `rev` are here.
    [[nodiscard]] bool reaches(std::uint64_t rev) const noexcept { return rev >= complete_since_; }
    [[nodiscard]] std::uint64_t complete_since() const noexcept { return complete_since_; }

    // The writes after revision `rev`, oldest first.
    [[nodiscard]] std::vector<Change> since(std::uint64_t rev) const {
        std::vector<Change> found;
        for (std::size_t at = 0; at < used_;) {
            Header header;
            get(at, &header, sizeof header);
            if (header.rev > rev) {
                std::string path(header.size, '\0');
                get(at + sizeof header, path.data(), path.size());
                found.push_back({header.rev, header.merged != 0, std::move(path)});
            }
            at += sizeof header + header.size;
        }
        return found;
    }

  private:
    struct Header {
        std::uint64_t rev;
        std::uint32_t size;  // bytes of the path behind it
        std::uint32_t merged;
    };

    void drop_oldest() {
        Header header;
        get(0, &header, sizeof header);
        complete_since_ = std::max(complete_since_, header.rev);
        const std::size_t size = sizeof header + header.size;
        oldest_ = (oldest_ + size) % memory_.size();
        used_ -= size;
    }
    void put(const void* data, std::size_t size) {
        if (size == 0) return;
        const std::size_t at = (oldest_ + used_) % memory_.size();
        const std::size_t before_the_end = std::min(size, memory_.size() - at);
        std::memcpy(memory_.data() + at, data, before_the_end);
        std::memcpy(memory_.data(), static_cast<const char*>(data) + before_the_end, size - before_the_end);
        used_ += size;
    }
    void get(std::size_t offset, void* data, std::size_t size) const {
        if (size == 0) return;
        const std::size_t at = (oldest_ + offset) % memory_.size();
        const std::size_t before_the_end = std::min(size, memory_.size() - at);
        std::memcpy(data, memory_.data() + at, before_the_end);
        std::memcpy(static_cast<char*>(data) + before_the_end, memory_.data(), size - before_the_end);
    }

    std::vector<char> memory_;
    std::size_t oldest_ = 0;  // where the oldest entry begins
    std::size_t used_ = 0;    // bytes
    std::uint64_t complete_since_;
    std::uint64_t latest_;
};

}  // namespace elkyn
