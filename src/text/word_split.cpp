#include "text/word_split.h"

#include <unicode/uchar.h>
#include <unicode/utf8.h>

#include <array>

namespace orrery {
namespace {

enum class Kind : uint8_t { letter, number, newline, space, other, end };

struct Character {
  Kind kind;
  size_t next;  // where the following one begins
};

Kind kind_of(UChar32 c) {
  if (c == '\r' || c == '\n') return Kind::newline;
  if (u_isUWhiteSpace(c)) return Kind::space;
  const uint32_t category = U_GET_GC_MASK(c);
  return category & U_GC_L_MASK ? Kind::letter : category & U_GC_N_MASK ? Kind::number : Kind::other;
}

std::array<Kind, 128> ascii_kinds() {
  std::array<Kind, 128> kinds{};
  for (size_t c = 0; c < kinds.size(); ++c) kinds[c] = kind_of(static_cast<UChar32>(c));
  return kinds;
}

Character at(std::string_view text, size_t i) {
  static const std::array<Kind, 128> ascii = ascii_kinds();
  if (i >= text.size()) return {Kind::end, i};
  if (const auto byte = static_cast<unsigned char>(text[i]); byte < 128) return {ascii[byte], i + 1};
  UChar32 c = 0;
  U8_NEXT_UNSAFE(reinterpret_cast<const uint8_t*>(text.data()), i, c);
  return {kind_of(c), i};
}

bool is_space(Kind kind) {
  return kind == Kind::space || kind == Kind::newline;
}

size_t skip(std::string_view text, size_t i, Kind kind) {
  for (Character c = at(text, i); c.kind == kind; c = at(text, i)) i = c.next;
  return i;
}

// Bytes of 's, 't, 're, 've, 'm, 'll or 'd behind the apostrophe, in either case; U+017F is a small s. 0:
// none.
size_t contraction(std::string_view rest) {
  const auto letter = [&](size_t i) { return i < rest.size() ? rest[i] | 0x20 : 0; };
  const int first = letter(0), second = letter(1);
  if ((first == 'r' && second == 'e') || (first == 'v' && second == 'e') || (first == 'l' && second == 'l'))
    return 2;
  if (first == 's' || first == 't' || first == 'm' || first == 'd') return 1;
  return rest.starts_with("\xC5\xBF") ? 2 : 0;
}

// Of a run of white space: up to its last newline; without one all, or all but the last where a word follows.
size_t space_end(std::string_view text, size_t begin) {
  size_t end = begin, last = begin, after_newline = begin;
  for (Character c = at(text, end); is_space(c.kind); c = at(text, end)) {
    last = end;
    end = c.next;
    if (c.kind == Kind::newline) after_newline = end;
  }
  if (after_newline > begin) return after_newline;
  return end == text.size() || last == begin ? end : last;
}

}  // namespace

size_t word_end(std::string_view text, size_t begin) {
  if (text[begin] == '\'')
    if (const size_t bytes = contraction(text.substr(begin + 1)); bytes > 0) return begin + 1 + bytes;
  const Character first = at(text, begin);
  if (first.kind == Kind::letter) return skip(text, first.next, Kind::letter);
  if (first.kind == Kind::number) return first.next;
  const Character second = at(text, first.next);
  if (first.kind != Kind::newline && second.kind == Kind::letter)
    return skip(text, second.next, Kind::letter);
  if (first.kind == Kind::other || (text[begin] == ' ' && second.kind == Kind::other))
    return skip(text, skip(text, first.next, Kind::other), Kind::newline);
  return space_end(text, begin);
}

}  // namespace orrery
