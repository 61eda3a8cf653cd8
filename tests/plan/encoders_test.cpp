// Memory of encoding films and prompts: planned, and counted in a run.
#include "plan/encoders.h"

#include <ATen/ops/zeros.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "data/dataset.h"
#include "infer/make_tokenizer.h"
#include "infer/text_networks.h"
#include "model/no_films.h"
#include "one_thread.h"
#include "plan/planned_runs.h"
#include "plan/report.h"

namespace orrery::test {
namespace {

using testing::HasSubstr;

constexpr double kGiB = 1 << 30;

// A network so small that encoding takes more memory than training.
Config tiny(int64_t batch) {
  Config c = small_config(10, batch);
  c.model.blocks = 1;
  c.model.channels = 24;
  c.model.heads = 2;
  c.optim.ema = Ema::none;
  c.numerics.deterministic = true;
  return c;
}

struct NoDataset final : Dataset {
  int64_t size() const override { return 0; }
  std::string name(int64_t) const override { return ""; }
  ClipShape shape(int64_t) const override { return {}; }
  std::vector<ClipShape> shapes() const override { return {}; }
  Clip item(int64_t, const Rng&, const std::stop_token&) const override { fail("no films"); }
};

Config with_wan(Config c) {
  c.data.frames = 9;
  c.data.height = 32;
  c.data.width = 48;
  c.tokenizer.kind = TokenizerKind::wan;
  c.tokenizer.weights = "random";
  c.tokenizer.width = 4;
  c.tokenizer.encode_window = 4;
  return c;
}

// Of the second step of a run.
MemoryUsage counted(const Config& c) {
  const OneThread one;
  const auto comm = single_rank_comm("alone");
  const Mesh mesh(*comm, {0}, {});
  MemoryMeter meter(at::kCPU);
  SceneNetwork model(c, mesh);
  const NoTokenizer none;
  std::unique_ptr<VideoTokenizer> wan;
  if (c.tokenizer.kind == TokenizerKind::wan) wan = make_tokenizer(c, at::kCPU, NoDataset()).tokenizer;
  const auto text = make_text_encoder(c, at::kCPU);
  TrainStep step(c, model.net, model.parallel, mesh, wan ? *wan : static_cast<const VideoTokenizer&>(none),
                 *text);
  StepBatch batch;
  batch.video = at::zeros({c.train.batch, 3, c.data.frames, c.data.height, c.data.width}, at::kByte);
  std::string words;  // more than an embedding has tokens
  for (int i = 0; i < 100; ++i) words += " push the red cube";
  const Shape latent{16, 1 + (c.data.frames - 1) / 4, c.data.height / 8, c.data.width / 8};
  for (int64_t i = 0; i < c.train.batch; ++i) {
    batch.samples.push_back(i);
    batch.captions.push_back(text_of("prompt ", i) + words);
    if (!wan) batch.latents.push_back(at::zeros(latent));
  }
  for (int64_t i = 0; i < 2; ++i) {
    meter.reset_peak();
    step(batch, i);
  }
  return meter.peak();
}

// The weights are counted exactly, so the working memory must agree by itself.
void expect_planned_is_counted(const Config& c) {
  const PlanReport plan = dry_run(c, {0}, read_ceilings("cpu"));
  const MemoryUsage peak = counted(c);
  EXPECT_GT(plan.encoding.total(), plan.memory.total()) << "encoding is not what is tested";
  EXPECT_NEAR(static_cast<double>(plan.encoding[MemoryUse::encoders]),
              static_cast<double>(peak[MemoryUse::encoders]), 128);  // the scale of latents
  const auto working = static_cast<double>(plan.encoding[MemoryUse::workspace]);
  EXPECT_NEAR(static_cast<double>(plan.encoding.total()), static_cast<double>(peak.total()), 0.05 * working)
      << "planned: " << describe(plan.encoding) << "\ncounted: " << describe(peak);
}

TEST(PlannedEncoders, films_take_what_is_planned) {
  for (const auto& [dtype, batch] : {std::pair{Dtype::float32, 3}, {Dtype::bfloat16, 1}}) {
    SCOPED_TRACE(text_of(name_of(dtype), ", ", batch, " films"));
    Config c = with_wan(tiny(batch));
    c.tokenizer.dtype = dtype;
    expect_planned_is_counted(c);
  }
}

void save_network(const ScratchFolder& folder, Module& net, const std::string& config) {
  save_shards(folder.path(), random_weights(net));
  write_file(folder / "config.json", config);
}

TEST(PlannedEncoders, prompts_of_reason1_take_what_is_planned) {
  const ScratchFolder folder;
  const std::string sizes =
      R"({"model_type":"qwen2_5_vl","vocab_size":520,"hidden_size":32,"intermediate_size":96,)"
      R"("num_hidden_layers":4,"num_attention_heads":8,"num_key_value_heads":2,"rms_norm_eps":1e-6,)"
      R"("rope_theta":1e6,"max_position_embeddings":512,"hidden_act":"silu","use_sliding_window":false})";
  Reason1Net net("model", qwen_text_config(nlohmann::json::parse(sizes)));
  save_network(folder, net, sizes);
  for (const auto& [dtype, batch] : {std::pair{Dtype::float32, 1}, {Dtype::bfloat16, 3}}) {
    SCOPED_TRACE(text_of(name_of(dtype), ", ", batch, " prompts"));
    Config c = tiny(batch);
    c.text.kind = TextKind::reason1;
    c.text.weights = folder.path();
    c.text.tokenizer = golden() / "tok_toy.json";
    c.text.dtype = dtype;
    c.text.tokens = 300;
    c.text.channels = 128;
    expect_planned_is_counted(c);
  }
}

TEST(PlannedEncoders, prompts_of_t5_take_what_is_planned) {
  const ScratchFolder folder;
  const std::string sizes =
      R"({"model_type":"t5","vocab_size":128,"d_model":32,"d_kv":8,"d_ff":64,"num_layers":2,"num_heads":16,)"
      R"("relative_attention_num_buckets":32,"layer_norm_epsilon":1e-6,"feed_forward_proj":"relu"})";
  T5Encoder net(t5_config(nlohmann::json::parse(sizes)));
  save_network(folder, net, sizes);
  Config c = tiny(2);
  c.text.kind = TextKind::t5;
  c.text.weights = folder.path();
  c.text.tokenizer = golden() / "t5_toy.model";
  c.text.dtype = Dtype::float32;
  c.text.tokens = 120;
  c.text.channels = 32;
  expect_planned_is_counted(c);
}

Config released() {
  Config c;
  c.numerics.dtype = Dtype::bfloat16;
  c.parallel.shard = 8;
  c.train.batch = 8;
  c.memory.policy = MemoryPolicy::full;
  c.tokenizer.kind = TokenizerKind::wan;
  c.text.kind = TextKind::reason1;
  return c;
}

PlanReport planned(const Config& c) {
  const Ceilings ceilings = read_ceilings("h100");
  return quick_run(c, nodes_of(8, ceilings), ceilings);
}

// Reason1's language model has 7,070,619,136 weights without its output layer, and the autoencoder was
// measured on an H200: 13.6 GiB in encode with windows of 16 frames, of which the film took 0.23.
TEST(PlannedEncoders, of_released_size_take_what_was_measured) {
  Config c = released();
  c.text.kind = TextKind::hash;
  const MemoryUsage film = planned(c).encoding;
  const auto bytes = [&](MemoryUse use) { return static_cast<double>(film[use]); };
  EXPECT_NEAR((bytes(MemoryUse::encoders) + bytes(MemoryUse::workspace)) / kGiB, 13.6 - 0.23, 0.1);
  c = released();
  c.tokenizer.kind = TokenizerKind::linear;
  EXPECT_EQ(planned(c).encoding[MemoryUse::encoders], 2 * 7070619136);
}

TEST(PlannedEncoders, count_in_every_moment_and_with_a_cache_the_autoencoder_alone_does) {
  Config c = released();
  const PlanReport with = planned(c);
  EXPECT_GT(with.encoding.total(), 0);
  EXPECT_EQ(with.memory[MemoryUse::encoders], with.encoding[MemoryUse::encoders]);
  EXPECT_THAT(describe(with, read_ceilings("h100")), HasSubstr("  encoders  "));
  c.data.cache = "/nowhere/cache";
  const PlanReport without = planned(c);
  EXPECT_EQ(without.encoding.total(), 0);
  EXPECT_EQ(without.memory[MemoryUse::encoders], with.memory[MemoryUse::encoders] - 2 * 7070619136);
  EXPECT_EQ(with.memory.total() - without.memory.total(), 2 * 7070619136);
  // What does not fit while films are encoded does not fit.
  c.data.cache.clear();
  c.memory.policy = MemoryPolicy::full;
  c.tokenizer.encode_window = 92;
  c.parallel.context = 1;
  const PlanReport large = planned(c);
  EXPECT_GT(large.encoding.total(), large.memory.total());
  EXPECT_GE(large.total(), static_cast<double>(large.encoding.total()));
  EXPECT_THAT(describe(large, read_ceilings("h100")), HasSubstr("fullest, encoding films and prompts"));
}

TEST(PlannedEncoders, context_ranks_share_the_rows_of_films_but_not_prompts) {
  Config c = released();
  c.text.kind = TextKind::hash;
  const MemoryUsage whole = planned(c).encoding;
  c.parallel.shard = 4;
  c.parallel.context = 2;
  const MemoryUsage half = planned(c).encoding;
  EXPECT_LT(half[MemoryUse::workspace], 0.53 * static_cast<double>(whole[MemoryUse::workspace]));
  EXPECT_GT(half[MemoryUse::workspace], 0.48 * static_cast<double>(whole[MemoryUse::workspace]));
  EXPECT_EQ(half[MemoryUse::encoders], whole[MemoryUse::encoders]);
}

Config with_samples(Config c) {
  c.text.kind = TextKind::hash;
  c.data.cache = "/nowhere/cache";
  c.sample.path = "/nowhere/films";
  c.sample.clips = 4;
  return c;
}

TEST(PlannedEncoders, samples_of_small_size_take_what_is_planned) {
  Config c = with_samples(with_wan(tiny(1)));
  c.tokenizer.dtype = Dtype::float32;
  c.tokenizer.decode_window = 2;
  const MemoryUsage planned = dry_run(c, {0}, read_ceilings("cpu")).sampling;
  const OneThread one;
  const auto wan = make_tokenizer(c, at::kCPU, NoDataset()).tokenizer;
  const at::Tensor films = at::zeros({4, 3, c.data.frames, c.data.height, c.data.width}, at::kByte);
  MemoryMeter meter(at::kCPU);
  const MemoryTag tag(MemoryUse::workspace);
  wan->decode(wan->encode(films));
  const auto counted = static_cast<double>(meter.peak()[MemoryUse::workspace]);
  EXPECT_NEAR(static_cast<double>(planned[MemoryUse::workspace]), counted, 0.05 * counted);
}

// Measured on an H200: 15.4 GiB in decode with windows of 4 latent frames.
TEST(PlannedEncoders, samples_of_released_size_take_what_was_measured_one_by_one) {
  Config c = with_samples(released());
  const MemoryUsage one = planned(c).sampling;
  const auto bytes = [](const MemoryUsage& u, MemoryUse use) { return static_cast<double>(u[use]); };
  EXPECT_NEAR((bytes(one, MemoryUse::encoders) + bytes(one, MemoryUse::workspace)) / kGiB, 15.4, 0.3);
  c.sample.clips = 1;
  EXPECT_EQ(planned(c).sampling.total(), one.total());
  c.data.height = 192;
  c.data.width = 320;
  const double small = bytes(planned(c).sampling, MemoryUse::workspace);
  c.parallel.shard = 2;
  c.parallel.replicate = 4;
  for (const auto& [clips, of_a_group] : {std::pair{8, 1}, {16, 2}, {24, 3}, {32, 3}}) {
    c.sample.clips = clips;
    EXPECT_NEAR(bytes(planned(c).sampling, MemoryUse::workspace) / small, of_a_group, 0.01) << clips;
  }
  c.sample.every = 0;
  EXPECT_EQ(planned(c).sampling.total(), 0);
  c.sample.final_clips = 8;
  EXPECT_GT(planned(c).sampling.total(), 0);
  c.sample.path.clear();  // and no film is held out
  EXPECT_EQ(planned(c).sampling.total(), 0);
}

TEST(PlannedEncoders, what_does_not_fit_while_samples_are_made_does_not_fit) {
  Config c = with_samples(released());
  c.model.blocks = 5;
  c.parallel.shard = 1;
  c.train.batch = 1;
  const Ceilings ceilings = read_ceilings("h100");
  c.memory.limit_gib = 50;
  c.tokenizer.decode_window = 24;
  const PlanReport r = quick_run(c, {0}, ceilings);
  EXPECT_GT(r.sampling.total(), r.memory.total());
  EXPECT_FALSE(r.fits());
  EXPECT_THAT(describe(r, ceilings), HasSubstr("fullest, encoding and decoding samples"));
  c.tokenizer.decode_window = 4;
  EXPECT_TRUE(quick_run(c, {0}, ceilings).fits());
}

}  // namespace
}  // namespace orrery::test
