#include "infer/lined_json.h"

#include <algorithm>
#include <deque>
#include <iterator>

#include "base/error.h"

namespace orrery {
namespace {

using nlohmann::json;

constexpr size_t kMaxDepth = 16;

// Characters of the text, counting line ends as they go by. The parser reads each once, in order.
class CountingIterator {
 public:
  using iterator_category = std::input_iterator_tag;
  using value_type = char;
  using difference_type = std::ptrdiff_t;
  using pointer = const char*;
  using reference = const char&;

  CountingIterator(const char* at, int64_t* line) : at_(at), line_(line) {}
  reference operator*() const { return *at_; }
  CountingIterator& operator++() {
    if (*at_ == '\n') ++*line_;
    ++at_;
    return *this;
  }
  CountingIterator operator++(int) {
    const CountingIterator before = *this;
    ++*this;
    return before;
  }
  bool operator==(const CountingIterator& other) const { return at_ == other.at_; }
  bool operator!=(const CountingIterator& other) const { return at_ != other.at_; }

 private:
  const char* at_;
  int64_t* line_;
};

// Takes the parser's events and builds the tree. A key is told when its closing quote was read, so the
// counter then stands on the key's line.
class Builder final : public nlohmann::json_sax<json> {
 public:
  Builder(LinedJson& root, const int64_t& line) : root_(root), line_(line) { root_.line = line; }

  bool null() override { return put(nullptr); }
  bool boolean(bool value) override { return put(value); }
  bool number_integer(int64_t value) override { return put(value); }
  bool number_unsigned(uint64_t value) override { return put(value); }
  bool number_float(double value, const std::string&) override { return put(value); }
  bool string(std::string& value) override { return put(std::move(value)); }
  bool binary(json::binary_t&) override { return false; }
  bool start_object(size_t) override { return open(json::object()); }
  bool start_array(size_t) override { return open(json::array()); }
  bool end_object() override { return close(); }
  bool end_array() override { return close(); }

  bool key(std::string& key) override {
    auto& members = open_.back()->members;
    const auto same = [&](const JsonMember& m) { return m.key == key; };
    if (std::any_of(members.begin(), members.end(), same))
      throw JsonProblem{line_, "\"" + key + "\" comes twice"};
    members.push_back({key, {nullptr, line_}});
    return true;
  }

  bool parse_error(size_t, const std::string& token, const json::exception& error) override {
    constexpr int kNumberOverflow = 406;  // of the library; a parse error has a column, this one has none
    if (error.id == kNumberOverflow)
      throw JsonProblem{line_, "not valid JSON: the number " + shortened(token) + " is too large"};
    // "[json.exception.parse_error.101] parse error at line 1, column 5: syntax error ..."
    const std::string text = error.what();
    const size_t column = text.find("column ");
    throw JsonProblem{line_, "not valid JSON: " + (column == std::string::npos ? text : text.substr(column))};
  }

 private:
  // Elements of lists have no place: nothing that is read from here takes a list.
  LinedJson* place() {
    if (open_.empty()) return &root_;
    return open_.back()->is_object() ? &open_.back()->members.back().value : nullptr;
  }
  bool put(json value) {
    if (LinedJson* const to = place()) to->value = std::move(value);
    return true;
  }
  bool open(json value) {
    if (open_.size() == kMaxDepth) throw JsonProblem{line_, text_of("nested deeper than ", kMaxDepth)};
    LinedJson* to = place();
    if (to == nullptr) to = &spare_.emplace_back();
    to->value = std::move(value);
    open_.push_back(to);
    return true;
  }
  bool close() {
    open_.pop_back();
    return true;
  }

  LinedJson& root_;
  const int64_t& line_;
  std::vector<LinedJson*> open_;  // a parent's members do not move while a child is open
  std::deque<LinedJson> spare_;   // values inside lists
};

}  // namespace

LinedJson::LinedJson(nlohmann::json value, int64_t line) : value(std::move(value)), line(line) {}

std::string shortened(std::string text) {
  constexpr size_t kShown = 60;
  if (text.size() <= kShown) return text;
  size_t end = kShown;
  const auto continues = [&](size_t i) { return (static_cast<unsigned char>(text[i]) & 0xC0) == 0x80; };
  while (end > 0 && continues(end)) --end;
  return text.substr(0, end) + "...";
}

LinedJson parse_lined_json(std::string_view text, int64_t first_line) {
  LinedJson root;
  int64_t line = first_line;
  Builder builder(root, line);
  json::sax_parse(CountingIterator(text.data(), &line), CountingIterator(text.data() + text.size(), &line),
                  &builder);
  return root;
}

}  // namespace orrery
