// The one grammar of watch patterns: `*` is exactly one segment, `**` (last only) is zero or more.
#pragma once

#include <string_view>

namespace elkyn {

namespace detail {

// Takes the first segment off `rest`, which starts with '/' or is empty.
inline std::string_view take_segment(std::string_view& rest) noexcept {
    rest.remove_prefix(1);
    const auto end = rest.find('/');
    const auto segment = rest.substr(0, end);
    rest = end == std::string_view::npos ? std::string_view{} : rest.substr(end);
    return segment;
}

}  // namespace detail

// Whether `path` is one that `pattern` names. Both are absolute; "/" is the root, which has no segments.
inline bool matches(std::string_view pattern, std::string_view path) noexcept {
    if (pattern.empty() || path.empty() || pattern.front() != '/' || path.front() != '/') return false;
    if (pattern == "/") pattern = {};
    if (path == "/") path = {};
    while (!pattern.empty()) {
        const auto wanted = detail::take_segment(pattern);
        if (wanted == "**" && pattern.empty()) return true;
        if (path.empty()) return false;
        const auto segment = detail::take_segment(path);
        if (wanted != "*" && wanted != segment) return false;
    }
    return path.empty();
}

}  // namespace elkyn
