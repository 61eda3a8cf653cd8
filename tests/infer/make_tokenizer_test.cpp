// What a run keeps of its tokenizer, and with which one it goes on.
#include "infer/make_tokenizer.h"

#include <ATen/ops/arange.h>
#include <ATen/ops/equal.h>
#include <ATen/ops/eye.h>
#include <ATen/ops/ones.h>
#include <gmock/gmock.h>

#include <fstream>

#include "base/error.h"
#include "ckpt/safetensors.h"
#include "ckpt/torch_writer.h"
#include "fixtures.h"
#include "model/wan_vae.h"
#include "one_thread.h"

namespace orrery {
namespace {

using testing::AllOf;
using testing::HasSubstr;

struct NoFilms final : Dataset {
  int64_t size() const override { return 0; }
  std::string name(int64_t) const override { return ""; }
  ClipShape shape(int64_t) const override { return {}; }
  std::vector<ClipShape> shapes() const override { return {}; }
  Clip item(int64_t, const Rng&, const std::stop_token&) const override { fail("no films"); }
};

LinearTokenizer linear_tokenizer() {
  constexpr int64_t kBlock = LinearTokenizer::kBlock;
  return LinearTokenizer(
      {at::eye(kBlock).narrow(1, 0, 4).contiguous(), at::arange(kBlock, at::kFloat), at::ones({4}), 0.5});
}

Config linear_config() {
  Config c;
  c.tokenizer.channels = 4;
  return c;
}

Config wan_config(const std::string& weights = "random") {
  Config c;
  c.tokenizer.kind = TokenizerKind::wan;
  c.tokenizer.weights = weights;
  c.tokenizer.width = 2;
  c.tokenizer.dtype = Dtype::float32;
  return c;
}

RunTokenizer made(const Config& c) {
  return make_tokenizer(c, at::kCPU, NoFilms());
}

template <class F>
std::string refusal(const F& call) {
  try {
    call();
  } catch (const Error& error) {
    return error.what();
  }
  return "accepted";
}

TEST(Tokenizer, stays_as_it_was_loaded_when_its_file_is_changed_or_removed) {
  const test::ScratchFolder folder;
  const LinearTokenizer saved = linear_tokenizer();
  save_tokenizer(folder.path(), record_of(saved));
  const RunTokenizer loaded = load_tokenizer(folder.path(), linear_config(), at::kCPU);
  const auto file = folder / "tokenizer.safetensors";
  const auto size = std::filesystem::file_size(file);
  std::fstream(file, std::ios::in | std::ios::out | std::ios::binary) << std::string(size, 'x');  // in place
  for (const auto& [name, tensor] : saved.tensors())
    EXPECT_TRUE(at::equal(loaded.record.tensors.at(name), tensor)) << name;
}

TEST(Tokenizer, digests_follow_the_contents_of_its_files) {
  const test::ScratchFolder run;
  save_tokenizer(run.path(), record_of(linear_tokenizer()));
  const auto first = tokenizer_digests(run.path(), linear_config());
  EXPECT_EQ(tokenizer_digests(run / "model.safetensors", linear_config()), first) << "it lies beside them";
  constexpr int64_t kBlock = LinearTokenizer::kBlock;
  save_tokenizer(run.path(), record_of(LinearTokenizer({at::eye(kBlock).narrow(1, 0, 4).contiguous(),
                                                        at::ones({kBlock}), at::ones({4}), 0.5})));
  EXPECT_NE(tokenizer_digests(run.path(), linear_config()), first);

  const test::ScratchFolder wan;
  const auto digests = [&](const char* file) { return tokenizer_digests("/none", wan_config(wan / file)); };
  save_safetensors(wan / "a.safetensors", {{"x", at::ones({3})}}, {});
  save_safetensors(wan / "b.safetensors", {{"x", at::ones({3})}}, {});
  save_safetensors(wan / "c.safetensors", {{"x", at::ones({3}) * 2}}, {});
  EXPECT_EQ(digests("a.safetensors"), digests("b.safetensors"));
  EXPECT_NE(digests("a.safetensors"), digests("c.safetensors"));
  Config random = wan_config();
  const auto drawn = tokenizer_digests("/none", random);
  random.train.seed = 5;
  EXPECT_NE(tokenizer_digests("/none", random), drawn);
}

TEST(Tokenizer, one_of_another_kind_or_width_is_refused) {
  const test::ScratchFolder folder;
  save_tokenizer(folder.path(), record_of(linear_tokenizer()));
  Config c = linear_config();
  c.tokenizer.channels = 5;
  EXPECT_THAT(refusal([&] { load_tokenizer(folder.path(), c, at::kCPU); }), HasSubstr("has 4 channels"));
  EXPECT_THAT(refusal([&] { load_tokenizer(folder.path(), wan_config(), at::kCPU); }),
              HasSubstr("of kind \"linear\", tokenizer.kind is wan"));
  save_tokenizer(folder.path(), made(wan_config()).record);
  EXPECT_THAT(refusal([&] { load_tokenizer(folder.path(), linear_config(), at::kCPU); }),
              HasSubstr("of kind \"wan\", tokenizer.kind is linear"));
  c = wan_config();
  c.tokenizer.width = 4;
  EXPECT_THAT(refusal([&] { load_tokenizer(folder.path(), c, at::kCPU); }), HasSubstr("whose width is 2"));
}

TEST(Tokenizer, random_weights_of_the_autoencoder_follow_the_seed) {
  const test::OneThread guard;
  const test::ScratchFolder folder;
  const RunTokenizer first = made(wan_config());
  save_tokenizer(folder.path(), first.record);
  const RunTokenizer again = load_tokenizer(folder.path(), wan_config(), at::kCPU);
  const at::Tensor film = at::arange(3 * 5 * 8 * 8).reshape({1, 3, 5, 8, 8}).to(at::kByte);
  EXPECT_TRUE(at::equal(first.tokenizer->encode(film), again.tokenizer->encode(film)));
  Config other = wan_config();
  other.train.seed = 1;
  EXPECT_THAT(refusal([&] { load_tokenizer(folder.path(), other, at::kCPU); }),
              AllOf(HasSubstr("tokenizer.safetensors"), HasSubstr("tokenizer.weights=random")));
}

TEST(Tokenizer, weights_of_the_autoencoder_are_told_by_their_values_not_by_their_file_or_type) {
  const test::OneThread guard;
  const test::ScratchFolder folder;
  WanVae net({.dim = 2}, WanVaePart::both);
  net.materialize(at::kCPU, at::kFloat);
  net.initialize(0);
  std::map<std::string, at::Tensor> weights;
  for (const Parameter* p : net.parameters()) weights[p->key()] = p->value();
  save_torch(folder / "a.pth", weights);
  save_safetensors(folder / "b.safetensors", weights);
  save_tokenizer(folder.path(), made(wan_config((folder / "a.pth").string())).record);
  Config c = wan_config((folder / "b.safetensors").string());
  c.tokenizer.dtype = Dtype::bfloat16;
  EXPECT_EQ(refusal([&] { load_tokenizer(folder.path(), c, at::kCPU); }), "accepted");
  EXPECT_EQ(refusal([&] { load_tokenizer(folder.path(), wan_config(), at::kCPU); }), "accepted");  // seed 0
  at::Tensor(weights.at("conv2.bias"))[3] = 1e-3;
  save_safetensors(folder / "b.safetensors", weights);
  EXPECT_THAT(refusal([&] { load_tokenizer(folder.path(), c, at::kCPU); }), HasSubstr("other weights?"));
  EXPECT_THAT(refusal([] { made(wan_config("")); }), HasSubstr("tokenizer.weights is empty"));
}

}  // namespace
}  // namespace orrery
