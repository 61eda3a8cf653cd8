// The scanner against the regular expression that it stands for.
#include "text/word_split.h"

#include <gmock/gmock.h>
#include <unicode/regex.h>

#include <random>

namespace orrery {
namespace {

using testing::ElementsAre;

std::vector<std::string> words_of(std::string_view text) {
  std::vector<std::string> words;
  for (size_t begin = 0, end = 0; begin < text.size(); begin = end) {
    end = word_end(text, begin);
    words.emplace_back(text.substr(begin, end - begin));
  }
  return words;
}

// ICU's \s and \S know fewer characters than White_Space, which is what they mean here.
std::unique_ptr<icu::RegexPattern> icu_pattern() {
  std::string expression(kQwenWords);
  for (const auto& [from, to] : {std::pair{"\\s", "\\p{White_Space}"}, {"\\S", "\\P{White_Space}"}})
    for (size_t at = 0; (at = expression.find(from, at)) != expression.npos; at += std::strlen(to))
      expression.replace(at, 2, to);
  UErrorCode error = U_ZERO_ERROR;
  UParseError where;
  std::unique_ptr<icu::RegexPattern> pattern(
      icu::RegexPattern::compile(icu::UnicodeString::fromUTF8(expression), where, error));
  EXPECT_TRUE(U_SUCCESS(error)) << u_errorName(error);
  return pattern;
}

std::vector<std::string> icu_words(const icu::RegexPattern& pattern, const icu::UnicodeString& text) {
  UErrorCode error = U_ZERO_ERROR;
  const std::unique_ptr<icu::RegexMatcher> matcher(pattern.matcher(text, error));
  std::vector<std::string> words;
  while (matcher->find()) matcher->group(error).toUTF8String(words.emplace_back());
  EXPECT_TRUE(U_SUCCESS(error)) << u_errorName(error);
  return words;
}

TEST(WordSplit, follows_the_order_of_the_alternatives) {
  EXPECT_THAT(words_of("it's We'LL can'T"), ElementsAre("it", "'s", " We", "'LL", " can", "'T"));
  EXPECT_THAT(words_of("v2.51  x"), ElementsAre("v", "2", ".", "5", "1", " ", " x"));
  EXPECT_THAT(words_of("a \t\n \n  b!!\r\n\r\nc"),
              ElementsAre("a", " \t\n \n", " ", " b", "!!\r\n\r\n", "c"));
  EXPECT_THAT(words_of("end   "), ElementsAre("end", "   "));
  EXPECT_THAT(words_of("'\xC5\xBFx \"q"), ElementsAre("'\xC5\xBF", "x", " \"", "q"));
}

TEST(WordSplit, equals_the_regular_expression_on_random_text) {
  // Characters at which the alternatives part: letters with case folds, marks, digits of all kinds, spaces.
  const std::u32string alphabet =
      U"sStTrReEvVmMlLdD'\u2019\u017F\u212AaZ019\u00BD\u0663\u2167\u4E2D\u0301\u0938\u093F\u1F600.,-_!?\"#"
      U"      \t\n\r\v\f\u0085\u00A0\u1680\u180E\u2003\u2028\u202F\u3000\u200B\u00AD\U0001F600\U0001D7D8";
  const auto pattern = icu_pattern();
  std::mt19937 random(7);
  for (int i = 0; i < 20000; ++i) {
    icu::UnicodeString text;
    for (unsigned length = random() % 24; length > 0; --length)
      text.append(static_cast<UChar32>(alphabet[random() % alphabet.size()]));
    std::string utf8;
    text.toUTF8String(utf8);
    ASSERT_EQ(words_of(utf8), icu_words(*pattern, text)) << testing::PrintToString(utf8);
  }
}

TEST(WordSplit, equals_the_regular_expression_on_every_character) {
  const auto pattern = icu_pattern();
  for (UChar32 c = 0; c < 0x110000; c += c < 0x3000 ? 1 : 31) {
    if (c >= 0xD800 && c < 0xE000) continue;
    icu::UnicodeString text = icu::UnicodeString("a ").append(c).append(c).append("b 's").append(c);
    std::string utf8;
    text.toUTF8String(utf8);
    ASSERT_EQ(words_of(utf8), icu_words(*pattern, text)) << "U+" << std::hex << c;
  }
}

}  // namespace
}  // namespace orrery
