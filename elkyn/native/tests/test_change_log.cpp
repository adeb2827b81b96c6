// What the change log keeps, against a list that keeps everything.
#include <deque>
#include <random>

#include "../change_log.hpp"
#include "harness.hpp"

namespace {

using elkyn::Change;
using elkyn::ChangeLog;

constexpr std::size_t kSmall = 16 + elkyn::kMaxPath;

TEST(a_new_log_reaches_back_to_its_beginning) {
    ChangeLog log(7);
    CHECK(log.reaches(7));
    CHECK(!log.reaches(6));
    CHECK(log.since(7).empty());
    log.note(8, "/a", false);
    log.note(9, "/b", true);
    CHECK(log.since(8).size() == 1);
    CHECK(log.since(8)[0].path == "/b");
    CHECK(log.since(8)[0].merged);
}

TEST(what_is_dropped_for_want_of_room_is_no_longer_reached) {
    ChangeLog log(0, kSmall);
    const std::string path(elkyn::kMaxPath, 'x');
    log.note(1, path, false);
    CHECK(log.reaches(0));
    log.note(2, path, false);
    CHECK(!log.reaches(0));
    CHECK(log.reaches(1));
}

TEST(a_revision_that_was_not_noted_is_not_reached_over) {
    ChangeLog log(0);
    log.note(1, "/a", false);
    log.note(3, "/c", false);
    CHECK(!log.reaches(1));
    CHECK(log.reaches(2));
}

TEST(a_commit_that_failed_leaves_a_path_too_many_at_most) {
    ChangeLog log(0);
    log.note(1, "/failed", false);
    log.note(2, "/failed too", false);
    log.note(1, "/a", false);
    CHECK(log.reaches(0));
    CHECK(log.since(0).size() == 3);
    log.note(2, "/b", false);
    CHECK(log.since(1).size() == 2);
}

TEST(a_path_longer_than_any_is_refused) {
    ChangeLog log(0);
    bool refused = false;
    try {
        log.note(1, std::string(elkyn::kMaxPath + 1, 'x'), false);
    } catch (const std::invalid_argument&) {
        refused = true;
    }
    CHECK(refused);
    CHECK(log.since(0).empty());
}

TEST(what_was_discarded_takes_notes_no_longer) {
    ChangeLog log(0);
    log.note(1, "/a", false);
    log.discard();
    log.note(2, "/b", false);
    CHECK(!log.reaches(2));
    CHECK(log.since(0).empty());
}

TEST(it_says_what_a_list_of_everything_says) {
    std::mt19937 chance(20240229);
    for (const std::size_t bytes : {kSmall, kSmall + 1, std::size_t{1000}, std::size_t{4096}}) {
        ChangeLog log(0, bytes);
        std::deque<Change> all;
        std::uint64_t rev = 0;
        for (int n = 0; n < 20'000; ++n) {
            const std::string path(chance() % (elkyn::kMaxPath + 1), static_cast<char>('a' + n % 26));
            rev += chance() % 3 != 0;  // several writes of one commit
            if (rev == 0) rev = 1;
            log.note(rev, path, n % 5 == 0);
            all.push_back({rev, n % 5 == 0, path});
            if (all.size() > 400) all.pop_front();
            const std::uint64_t since = rev - std::min<std::uint64_t>(rev, chance() % 8);
            if (!log.reaches(since)) continue;
            const std::vector<Change> told = log.since(since);
            std::vector<Change> wanted;
            for (const Change& each : all)
                if (each.rev > since) wanted.push_back(each);
            CHECK(told.size() == wanted.size());
            for (std::size_t at = 0; at < told.size(); ++at) {
                CHECK(told[at].rev == wanted[at].rev);
                CHECK(told[at].path == wanted[at].path);
                CHECK(told[at].merged == wanted[at].merged);
            }
        }
        CHECK(log.reaches(rev));
    }
}

}  // namespace

int main() { return harness::run_all(); }
