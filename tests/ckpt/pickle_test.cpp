// The pickle interpreter: values of each opcode, refusals, and shapes that would not end.
#include "ckpt/pickle.h"

#include <gmock/gmock.h>

#include "base/error.h"

namespace orrery {
namespace {

using testing::HasSubstr;
using namespace std::string_literals;

constexpr std::array<std::string_view, 3> kAllowed{"collections OrderedDict", "m f", "torch Size"};

struct Parsed {
  explicit Parsed(std::string text) : bytes("\x80\x04" + std::move(text)), pickle(bytes, kAllowed) {}
  std::string bytes;
  Pickle pickle;
  const PickleNode* operator->() const { return &pickle.root(); }
};

std::string refusal(const std::string& text) {
  try {
    const Parsed parsed(text);
  } catch (const Error& error) {
    return error.what();
  }
  return "accepted";
}

TEST(Pickle, numbers_have_their_values) {
  EXPECT_EQ(Parsed("K\xff.")->integer, 255);
  EXPECT_EQ(Parsed("M\x01\x02.")->integer, 0x201);
  EXPECT_EQ(Parsed("J\xfe\xff\xff\xff.")->integer, -2);
  EXPECT_EQ(Parsed("\x8a\x00."s)->integer, 0);
  EXPECT_EQ(Parsed("\x8a\x01\x80.")->integer, -128);
  EXPECT_EQ(Parsed("\x8a\x02\xff\x00."s)->integer, 255);
  EXPECT_EQ(Parsed("\x8a\x08\xff\xff\xff\xff\xff\xff\xff\x7f.")->integer, INT64_MAX);
  EXPECT_EQ(Parsed("\x8a\x09\x00\x00\x00\x00\x00\x00\x00\x00\x01."s)->kind, PickleKind::large_integer);
  EXPECT_EQ(Parsed("G\x3f\xf8\x00\x00\x00\x00\x00\x00."s)->real, 1.5);
  EXPECT_EQ(Parsed("\x88.")->integer, 1);
  EXPECT_EQ(Parsed("N.")->kind, PickleKind::none);
}

TEST(Pickle, containers_keep_their_items_in_order) {
  const Parsed list(
      "](K\x01K\x02"
      "eK\x03"
      "a.");
  ASSERT_EQ(list->items.size(), 3u);
  EXPECT_EQ(list->items[2]->integer, 3);
  const Parsed dict(
      "}(\x8c\x01kK\x01u\x8c\x02"
      "abK\x02s.");
  EXPECT_EQ(get_item(*dict.operator->(), "k", PickleKind::integer).integer, 1);
  EXPECT_EQ(get_item(*dict.operator->(), "ab", PickleKind::integer).integer, 2);
  EXPECT_EQ(find_item(*dict.operator->(), "c"), nullptr);
  EXPECT_EQ(integers_of(*Parsed("K\x01K\x02K\x03\x87.").operator->(), 3), (std::vector<int64_t>{1, 2, 3}));
}

TEST(Pickle, a_call_is_noted_and_not_made) {
  const Parsed call("cm\nf\n(K\x05tR}\x8c\x01kNsb.");
  EXPECT_TRUE(call->is_call("m f"));
  EXPECT_EQ(call->arguments->items[0]->integer, 5);
  EXPECT_TRUE(call->state->is(PickleKind::dict));
  EXPECT_EQ(Parsed("ccollections\nOrderedDict\n)R.")->kind, PickleKind::dict);
}

TEST(Pickle, globals_outside_the_list_are_refused_by_name) {
  EXPECT_THAT(refusal("cos\nsystem\n."), HasSubstr("'os system'"));
  EXPECT_THAT(refusal("\x8c\x02os\x8c\x06system\x93."), HasSubstr("'os system'"));
  EXPECT_THAT(refusal("cm\nf.g\n."), HasSubstr("'m f.g'"));
  EXPECT_THAT(refusal("cm f\n\n."), HasSubstr("'m f '"));
  EXPECT_THAT(refusal("c" + std::string(100'000, 'x')), HasSubstr("does not end"));
  EXPECT_THAT(refusal("K\x01)R."), HasSubstr("calls an integer"));
  EXPECT_THAT(refusal("cm\nf\nK\x01R."), HasSubstr("wanted a tuple"));
}

TEST(Pickle, a_machine_that_runs_dry_is_refused) {
  EXPECT_THAT(refusal("."), HasSubstr("0 values"));
  EXPECT_THAT(refusal("NN."), HasSubstr("2 values"));
  EXPECT_THAT(refusal("(N."), HasSubstr("1 marks"));
  EXPECT_THAT(refusal("Na."), HasSubstr("empty stack"));
  EXPECT_THAT(refusal("NNNs."), HasSubstr("to None"));
  EXPECT_THAT(refusal("}(Nu."), HasSubstr("key without a value"));
  EXPECT_THAT(refusal("]K\x01K\x02s."), HasSubstr("to a list"));
  EXPECT_THAT(refusal("N(\x85."), HasSubstr("empty stack"));
  EXPECT_THAT(refusal("t."), HasSubstr("mark that is not there"));
  EXPECT_THAT(refusal("h\x00."s), HasSubstr("never stored"));
  EXPECT_THAT(refusal("X\xff\xff\xff\xff"
                      "abc"),
              HasSubstr("cut short"));
  EXPECT_THAT(refusal("NQ."), HasSubstr("persistent id is None"));
  EXPECT_THAT(refusal("NNb."), HasSubstr("state of None"));
  EXPECT_THAT(refusal("cm\nf\n)RNbNb."), HasSubstr("twice"));
}

TEST(Pickle, other_protocols_are_refused) {
  constexpr std::string_view old("\x80\x01N."), none("N."), future("\x80\x06N.");
  for (const std::string_view bytes : {old, none, future}) EXPECT_THROW(Pickle(bytes, kAllowed), Error);
}

TEST(Pickle, deep_and_cyclic_trees_are_built_and_freed_without_recursion) {
  std::string deep;
  for (int i = 0; i < 1'000'000; ++i) deep += "]";
  for (int i = 1; i < 1'000'000; ++i) deep += "a";
  EXPECT_EQ(refusal(deep + "."), "accepted");
  const Parsed cycle(
      "]q\x01h\x01"
      "a.");
  EXPECT_EQ(cycle->items[0], cycle.operator->());
}

TEST(Pickle, records_of_many_fields_are_not_searched) {
  std::string text = "}(";
  for (int i = 0; i < 65; ++i) text += "\x8c\x01xN";
  const Parsed record(text + "u.");
  EXPECT_THROW(find_item(*record.operator->(), "y"), Error);
}

TEST(Pickle, a_key_that_comes_twice_in_a_record_is_refused) {
  const Parsed record("}(\x8c\x01kK\x01\x8c\x01nK\x03\x8c\x01kK\x02u.");
  EXPECT_THROW(find_item(*record.operator->(), "k"), Error);
  EXPECT_EQ(get_item(*record.operator->(), "n", PickleKind::integer).integer, 3);
}

// Each opcode is one byte, what it asks for many.
TEST(Pickle, values_stack_and_memo_are_bounded_by_what_real_files_need) {
  EXPECT_THAT(refusal(std::string(6'000'000, ']')), HasSubstr("more values than"));
  EXPECT_THAT(refusal(std::string(6'000'000, 'N')), HasSubstr("on its stack"));
  EXPECT_THAT(refusal(std::string(6'000'000, '(')), HasSubstr("on its stack"));
  EXPECT_THAT(refusal("N" + std::string(1000, '\x94')), HasSubstr("stores more values than it makes"));
  EXPECT_THAT(refusal("]r\xff\xff\xff\x7f."), HasSubstr("memo 2147483647 after 1 values"));
}

TEST(Pickle, long_lists_of_small_numbers_are_read) {
  std::string list = "](";
  for (int i = 0; i < 3'000'000; ++i) list += "\x88";
  EXPECT_EQ(Parsed(list + "e.")->items.size(), 3'000'000u);
}

TEST(Pickle, integers_of_refuses_what_is_none) {
  EXPECT_THROW(integers_of(*Parsed("K\x01N\x86.").operator->(), 2), Error);
  EXPECT_THROW(integers_of(*Parsed("K\x01K\x01\x86.").operator->(), 1), Error);
  EXPECT_THROW(integers_of(*Parsed("K\x01.").operator->(), 1), Error);
  EXPECT_EQ(integers_of(*Parsed("ctorch\nSize\nK\x07\x85\x85R.").operator->(), 1), std::vector<int64_t>{7});
}

}  // namespace
}  // namespace orrery
