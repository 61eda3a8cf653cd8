// The files of a text encoder are read by one rank for all.
#include "infer/cache_facts.h"

#include <ATen/ops/ones.h>
#include <gmock/gmock.h>

#include "base/error.h"
#include "ckpt/safetensors.h"
#include "fixtures.h"
#include "parallel/agreement.h"
#include "world.h"

namespace orrery {
namespace {

// Of the other ranks' own there are no files: a rank that read them would fail.
class TextFacts : public testing::Test {
 protected:
  TextFacts() {
    config.text.kind = TextKind::reason1;
    config.text.weights = folder / "w.safetensors";
    config.text.tokenizer = test::golden() / "tok_toy.json";
    if (comm.rank() == 0) save_safetensors(config.text.weights, {{"a", at::ones({4, 3})}});
  }
  Comm& comm = test_world().comm();
  const test::ScratchFolder folder;
  Config config;
};

TEST_F(TextFacts, are_those_of_the_first_ranks_files_on_every_rank) {
  const CacheFacts facts = text_facts(config, comm);
  std::string text;
  for (const auto& [name, value] : facts) text += name + " = " + value + "\n";
  EXPECT_NO_THROW(require_agreement(comm, "facts", text));
  EXPECT_EQ(facts.at("text.weights").size(), 16u);
  const auto alone = single_rank_comm("alone");
  if (comm.rank() == 0) EXPECT_EQ(facts, text_facts(config, *alone));
}

TEST_F(TextFacts, of_a_bad_file_are_refused_by_all_ranks_with_one_message) {
  if (comm.rank() == 0) test::write_file(folder / "w.safetensors", "no weights");
  std::string message = "accepted";
  try {
    text_facts(config, comm);
  } catch (const Error& error) {
    message = error.what();
  }
  EXPECT_THAT(message, testing::HasSubstr("w.safetensors"));
  EXPECT_NO_THROW(require_agreement(comm, "message", message));
}

}  // namespace
}  // namespace orrery
