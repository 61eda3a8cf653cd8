#include "cli/options.h"

#include <algorithm>
#include <array>
#include <cassert>
#include <charconv>
#include <cmath>
#include <numeric>

#include "base/error.h"

namespace orrery::cli {
namespace {

std::string_view trimmed(std::string_view text) {
  const size_t begin = text.find_first_not_of(" \t\r\n");
  if (begin == std::string_view::npos) return {};
  return text.substr(begin, text.find_last_not_of(" \t\r\n") - begin + 1);
}

// Text and value of the element types. wanted_* describe them for people.
template <class T>
bool parse_number(std::string_view text, const Range& range, T& value) {
  T read{};
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), read);
  if (error != std::errc{} || end != text.data() + text.size()) return false;
  if constexpr (std::is_floating_point_v<T>) {
    if (!std::isfinite(read)) return false;
  }
  if (static_cast<double>(read) < range.least || static_cast<double>(read) > range.most) return false;
  value = read;
  return true;
}

template <class T>
std::string number_text(T value) {
  std::array<char, 32> buffer;
  return {buffer.data(), std::to_chars(buffer.data(), buffer.data() + buffer.size(), value).ptr};
}

bool parse(std::string_view text, const Range& range, int64_t& value) {
  return parse_number(text, range, value);
}
bool parse(std::string_view text, const Range& range, double& value) {
  return parse_number(text, range, value);
}
bool parse(std::string_view text, const Range&, std::string& value) {
  if (text.find('\0') != std::string_view::npos) return false;
  value = text;
  return true;
}
bool parse(std::string_view text, const Range&, bool& value) {
  if (text != "true" && text != "false") return false;
  value = text == "true";
  return true;
}
template <class T>
bool parse(std::string_view text, const Range& range, std::vector<T>& values) {
  std::vector<T> read;
  while (!trimmed(text).empty() || !read.empty()) {
    const size_t comma = text.find(',');
    const std::string_view item = trimmed(text.substr(0, comma));
    if (item.empty() || !parse(item, range, read.emplace_back())) return false;
    if (comma == std::string_view::npos) break;
    text.remove_prefix(comma + 1);
  }
  values = std::move(read);
  return true;
}

std::string show(int64_t value) {
  return number_text(value);
}
std::string show(double value) {
  return number_text(value);
}
std::string show(bool value) {
  return value ? "true" : "false";
}
std::string show(const std::string& value) {
  return value;
}
template <class T>
std::string show(const std::vector<T>& values) {
  std::string text;
  for (const T& value : values) text += (text.empty() ? "" : ", ") + show(value);
  return text;
}

std::string limits(const Range& range) {
  const bool low = std::isfinite(range.least), high = std::isfinite(range.most);
  if (low && high) return " from " + number_text(range.least) + " to " + number_text(range.most);
  if (low) return " >= " + number_text(range.least);
  return high ? " <= " + number_text(range.most) : "";
}

std::string wanted(const int64_t&, const Range& range) {
  return "a whole number" + limits(range);
}
std::string wanted(const double&, const Range& range) {
  return "a number" + limits(range);
}
std::string wanted(const bool&, const Range&) {
  return "true or false";
}
std::string wanted(const std::string&, const Range&) {
  return "text";
}
std::string wanted(const std::vector<int64_t>&, const Range& range) {
  return "whole numbers" + limits(range) + ", commas between them";
}
std::string wanted(const std::vector<double>&, const Range& range) {
  return "numbers" + limits(range) + ", commas between them";
}
std::string wanted(const std::vector<std::string>&, const Range&) {
  return "words, commas between them";
}

std::string joined(std::span<const std::string_view> names) {
  std::string text;
  for (const auto name : names) text += (text.empty() ? "" : ", ") + std::string(name);
  return text;
}

[[noreturn]] void wrong_value(const std::string& key, const std::string& text, const std::string& wanted) {
  fail(key, ": got \"", text, "\", wanted ", wanted);
}

// Smallest number of insertions, deletions, substitutions and swaps of neighbours from one word to the other.
size_t edit_distance(std::string_view a, std::string_view b) {
  std::vector<size_t> before(b.size() + 1), last(b.size() + 1), row(b.size() + 1);
  std::iota(last.begin(), last.end(), size_t{0});
  for (size_t i = 1; i <= a.size(); ++i) {
    row[0] = i;
    for (size_t j = 1; j <= b.size(); ++j) {
      row[j] = std::min({last[j] + 1, row[j - 1] + 1, last[j - 1] + (a[i - 1] != b[j - 1])});
      if (i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1])
        row[j] = std::min(row[j], before[j - 2] + 1);
    }
    std::swap(before, last);
    std::swap(last, row);
  }
  return last.back();
}

std::string_view last_part(std::string_view key) {
  return key.substr(key.rfind('.') + 1);
}

}  // namespace

template <class T>
requires(!std::is_enum_v<T>) void Settings::bind(std::string key, T& field, std::string help, Range range) {
  const std::string want = wanted(field, range);
  const auto read = [key, want, range, &field](const std::string& text) {
    if (!parse(std::string_view(text), range, field)) wrong_value(key, text, want);
  };
  add({key, std::move(help), want, read, [&field] { return cli::show(field); }});
}
template void Settings::bind(std::string, bool&, std::string, Range);
template void Settings::bind(std::string, int64_t&, std::string, Range);
template void Settings::bind(std::string, double&, std::string, Range);
template void Settings::bind(std::string, std::string&, std::string, Range);
template void Settings::bind(std::string, std::vector<int64_t>&, std::string, Range);
template void Settings::bind(std::string, std::vector<double>&, std::string, Range);
template void Settings::bind(std::string, std::vector<std::string>&, std::string, Range);

void Settings::bind_names(std::string key, std::string help, std::span<const std::string_view> names,
                          EnumField field) {
  const std::string want = (names.size() > 1 ? "one of " : "") + joined(names);
  const auto read = [key, want, names, store = field.store](const std::string& text) {
    const auto found = std::find(names.begin(), names.end(), text);
    if (found == names.end()) wrong_value(key, text, want);
    store(static_cast<size_t>(found - names.begin()));
  };
  add({key, std::move(help), want, read, [names, load = field.load] { return std::string(names[load()]); }});
}

void Settings::add(Setting row) {
  assert(!find(row.key));
  rows_.push_back(std::move(row));
}

const Setting* Settings::find(std::string_view key) const& {
  const auto row = std::find_if(rows_.begin(), rows_.end(), [&](const Setting& r) { return r.key == key; });
  return row == rows_.end() ? nullptr : &*row;
}

void Settings::set(const std::string& key, const std::string& text, const std::string& where) const {
  const std::string prefix = where.empty() ? "" : where + ": ";
  const Setting* const row = find(key);
  if (!row) {
    std::string hint;
    for (const auto& near : near_misses(key)) hint += (hint.empty() ? "; did you mean " : ", ") + near;
    fail(prefix, "unknown setting \"", key, "\"", hint);
  }
  try {
    row->read(text);
  } catch (const Error& error) {
    fail(prefix, error.what());
  }
}

std::vector<std::string> Settings::near_misses(std::string_view key) const {
  std::vector<std::pair<size_t, std::string>> found;
  for (const auto& row : rows_) {
    const bool bare = key.find('.') == std::string_view::npos;  // "lr" for "train.lr"
    const size_t whole = edit_distance(key, row.key);
    const size_t part = edit_distance(last_part(key), last_part(row.key)) + (bare ? 0 : 1);
    const size_t distance = std::min(whole, part);
    if (distance <= 1 + last_part(key).size() / 4) found.emplace_back(distance, row.key);
  }
  std::stable_sort(found.begin(), found.end(),
                   [](const auto& a, const auto& b) { return a.first < b.first; });
  if (found.size() > 3) found.resize(3);
  std::vector<std::string> keys;
  for (auto& [distance, name] : found) keys.push_back(std::move(name));
  return keys;
}

}  // namespace orrery::cli
