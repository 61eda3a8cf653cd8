#pragma once
// A small world model with random weights, the same on every rank, for tests of generation.
#include <ATen/ops/arange.h>
#include <ATen/ops/eye.h>
#include <ATen/ops/ones.h>

#include <cmath>

#include "base/rng.h"
#include "infer/film_maker.h"
#include "infer/make_text_encoder.h"
#include "model/linear_tokenizer.h"

namespace orrery::test {

constexpr std::string_view kPrompt = "push the cube to the left";

inline Config small_config(Dtype dtype) {
  Config c;
  c.model.preset = "nano";
  c.model.channels = 96;
  c.model.heads = 4;
  c.data.frames = 13;  // 4 latent frames
  c.data.height = c.data.width = 32;
  c.tokenizer.channels = 8;
  c.numerics.dtype = dtype;
  c.flow.condition_timestep = 0.1;
  return c;
}

// Films of noise about grey: a latent channel is the mean of every channels-th pixel of a block, in units of
// 20 grey levels.
inline LinearTokenizer pixel_tokenizer(int64_t channels) {
  constexpr int64_t kBlock = LinearTokenizer::kBlock;
  const int64_t pixels = kBlock / channels;  // of one channel; 8 and 16 channels share all pixels
  const double unit = std::sqrt(static_cast<double>(pixels));
  return LinearTokenizer({at::eye(channels).repeat({pixels, 1}) / unit, at::ones({kBlock}) * 128,
                          at::ones({channels}) * 20 * unit, 0});
}

struct SmallModel {
  explicit SmallModel(const Config& c) : SmallModel(c, device_of(c.numerics, 0)) {}
  SmallModel(const Config& c, at::Device device)
      : config(c),
        net(dit_config(c)),
        tokenizer(pixel_tokenizer(c.tokenizer.channels)),
        text(make_text_encoder(c, at::kCPU)) {
    net.materialize(device, scalar_type(c.numerics.dtype));
    net.initialize(1);
    uint64_t number = 100;
    for (Parameter* p : net.parameters()) {  // what starts at zero would hide mistakes
      const at::Tensor noise = Rng(4, "small model", {number++}).normal_tensor(p->value().sizes());
      p->variable().set_value(p->value() + noise.to(p->value().options()) * 0.05);
    }
  }
  FilmMaker maker(const FilmRanks& ranks) {
    FilmMaker maker(config, net, tokenizer, ranks);
    maker.learn({std::string(kPrompt), "lift", std::string(kDefaultNegativePrompt)},
                ranks.all->rank() == 0 ? text.get() : nullptr);
    return maker;
  }

  Config config;
  DiT net;
  LinearTokenizer tokenizer;
  std::unique_ptr<TextEncoder> text;
};

inline FilmRequest small_request(InferenceType type) {
  FilmRequest r;
  r.name = "film";
  r.type = type;
  r.prompt = kPrompt;
  r.num_steps = 3;
  return r;
}

inline at::Tensor small_input() {
  return (Rng(7, "input").uniform_tensor({5, 40, 40, 3}) * 255).to(at::kByte);
}

}  // namespace orrery::test
