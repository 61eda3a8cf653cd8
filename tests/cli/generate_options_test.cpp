// The command line of orrery generate: the reference's spelling, whose settings win, what is refused.
#include "cli/generate_options.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "base/error.h"
#include "infer/released_models.h"

namespace orrery::cli {
namespace {

using testing::HasSubstr;

std::string refusal(const std::vector<std::string>& arguments) {
  Config config;
  try {
    parse_generate(arguments, config);
  } catch (const Error& error) {
    return error.what();
  }
  return "";
}

TEST(GenerateOptions, of_the_reference_are_read_as_it_spells_them) {
  Config c;
  const GenerateOptions o = parse_generate({"-i",
                                            "a.json",
                                            "b.jsonl",
                                            "-o",
                                            "out",
                                            "--model",
                                            "2B/post-trained",
                                            "--checkpoint-path",
                                            "w.pt",
                                            "--num-generations",
                                            "3",
                                            "--context-parallel-size=4",
                                            "--cfg-parallel",
                                            "--no-keep-going",
                                            "--seed",
                                            "5",
                                            "--num-steps=10",
                                            "--enable-autoregressive",
                                            "--negative_prompt=",
                                            "--prompt",
                                            "-5 degrees"},
                                           c);
  EXPECT_THAT(o.inputs, testing::ElementsAre("a.json", "b.jsonl"));
  EXPECT_EQ(o.out, "out");
  EXPECT_EQ(o.weights, "w.pt");
  EXPECT_EQ(o.num_generations, 3);
  EXPECT_EQ(o.context_parallel_size, 4);
  EXPECT_TRUE(o.cfg_parallel);
  EXPECT_FALSE(o.keep_going);
  std::vector<std::pair<std::string, std::string>> fields;
  for (const FieldOverride& f : o.overrides) fields.emplace_back(f.field, f.value);
  EXPECT_THAT(fields,
              testing::ElementsAre(std::pair("seed", "5"), std::pair("num_steps", "10"),
                                   std::pair("enable_autoregressive", "true"),
                                   std::pair("negative_prompt", ""), std::pair("prompt", "-5 degrees")));
}

TEST(GenerateOptions, released_models_bring_the_settings_that_their_weights_need) {
  for (const char* name : {"2B/pre-trained", "2B/post-trained", "14B/pre-trained", "14B/post-trained"}) {
    Config c;
    parse_generate({"-i", "a.json", "-o", "out", "--model", name, "--checkpoint", "w.pt"}, c);
    const bool tuned = std::string(name) == "2B/post-trained";
    EXPECT_EQ(c.model.preset, name[0] == '2' ? "2b" : "14b");
    EXPECT_EQ(c.flow.condition_timestep, tuned ? 0.1 : -1);
    EXPECT_EQ(c.sample.sigmas, tuned ? Sigmas::karras : Sigmas::linear);
    EXPECT_EQ(c.sample.shift, 5);
    EXPECT_EQ(c.data.frames, 93);
    EXPECT_EQ(c.numerics.dtype, Dtype::bfloat16);
    EXPECT_EQ(c.tokenizer.kind, TokenizerKind::wan);
    EXPECT_EQ(c.text.kind, TextKind::reason1);
    EXPECT_EQ(c.sample.weights, Weights::model);
    EXPECT_THAT(generate_help(), HasSubstr(name));
  }
  Config c;
  parse_generate({"-i", "a.json", "-o", "out", "--model=2B/post-trained", "--checkpoint=w.pt",
                  "--sample.sigmas=linear", "--model.blocks=4"},
                 c);
  EXPECT_EQ(c.sample.sigmas, Sigmas::linear) << "what is given wins";
  EXPECT_EQ(c.model.blocks, 4) << "weights of another size";
}

TEST(GenerateOptions, that_do_not_fit_together_are_refused) {
  const std::vector<std::string> base = {"-i", "a.json", "-o", "out", "--checkpoint=w.pt"};
  const auto with = [&](std::vector<std::string> more) {
    more.insert(more.begin(), base.begin(), base.end());
    return refusal(more);
  };
  EXPECT_EQ(with({}), "");
  EXPECT_THAT(with({"--model=3B"}), HasSubstr("known are 2B/pre-trained"));
  EXPECT_THAT(with({"--image=x.png"}), HasSubstr("does not go with -i"));
  EXPECT_THAT(with({"--sample.steps=3"}), HasSubstr("samples have --num_steps"));
  EXPECT_THAT(with({"--train.lr=3"}), HasSubstr("no effect on generate"));
  EXPECT_THAT(with({"--offload-text-encoder"}), HasSubstr("offload_text_encoder"));
  EXPECT_THAT(with({"--seed"}), HasSubstr("--seed: got no value"));
  EXPECT_THAT(with({"--num_generations=0"}), HasSubstr("num_generations"));
  EXPECT_THAT(refusal({"-i", "-o", "out"}), HasSubstr("got no file"));
  EXPECT_THAT(refusal({"-i", "a.json", "--checkpoint=w.pt"}), HasSubstr("--out is missing"));
  EXPECT_THAT(refusal({"-i", "a.json", "-o", "out"}), HasSubstr("--run=DIR or --checkpoint=PATH"));
  EXPECT_THAT(refusal({"--checkpoint=w.pt", "--out=a.mp4", "--resume"}), HasSubstr("-i FILE"));
  EXPECT_THAT(refusal({"--checkpoint=w.pt", "--out=a.mp4", "--guidance=3"}), HasSubstr("unknown setting"));
}

TEST(GenerateOptions, settings_that_films_depend_on_are_told_apart_from_others) {
  Config a, b;
  EXPECT_EQ(film_settings(a), film_settings(b));
  b.train.lr = 1;
  b.sample.every = 5;
  EXPECT_EQ(film_settings(a), film_settings(b));
  b.memory.limit_gib = 3;
  b.data.max_pixels = 5000;
  b.numerics.device = Device::cuda;
  EXPECT_EQ(film_settings(a), film_settings(b)) << "limits, and where it runs";
  b.tokenizer.weights = b.text.weights = b.text.tokenizer = b.text.path = "elsewhere";
  EXPECT_EQ(film_settings(a), film_settings(b)) << "their contents count, not where they lie";
  b.sample.shift = 3;
  EXPECT_NE(film_settings(a), film_settings(b));
}

}  // namespace
}  // namespace orrery::cli
