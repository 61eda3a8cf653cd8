#include "infer/film_maker.h"

#include <ATen/ops/cat.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/zeros.h>
#include <c10/core/InferenceMode.h>

#include <chrono>
#include <utility>

#include "autograd/tape.h"
#include "base/error.h"
#include "flow/numpy_random.h"
#include "flow/schedule.h"
#include "infer/branch_parallel.h"
#include "infer/condition_clip.h"
#include "infer/context_denoiser.h"
#include "parallel/agreement.h"

namespace orrery {
namespace {

// Adds the seconds of its life.
class Stopwatch {
 public:
  explicit Stopwatch(double& seconds) : seconds_(seconds) {}
  ~Stopwatch() { seconds_ += std::chrono::duration<double>(Clock::now() - begin_).count(); }
  Stopwatch(const Stopwatch&) = delete;
  Stopwatch& operator=(const Stopwatch&) = delete;

 private:
  using Clock = std::chrono::steady_clock;
  double& seconds_;
  Clock::time_point begin_ = Clock::now();
};

at::ScalarType exact_type(const DiT& net) {
  return net.dtype() == at::kDouble ? at::kDouble : at::kFloat;
}

}  // namespace

FilmSize film_size(const FilmRequest& request, const DataConfig& data) {
  if (request.height > 0) return {request.height, request.width};
  return {data.height, data.width};
}

FilmMaker::FilmMaker(const Config& config, DiT& net, const VideoTokenizer& tokenizer, const FilmRanks& ranks)
    : config_(config),
      net_(net),
      tokenizer_(tokenizer),
      ranks_(ranks),
      denoiser_(context_denoiser(net, *ranks.context, config.parallel.head_groups, TextForm::projected)),
      branches_(branches_over(*ranks.branches)) {}

void FilmMaker::learn(const std::vector<std::string>& prompts, const TextEncoder* text) {
  require(text != nullptr || !leads(), "the leader of a group has no text encoder");
  const NoRecording guard;
  for (const std::string& prompt : prompts) {
    if (texts_.count(prompt) > 0) continue;
    at::Tensor projected =
        at::empty({1, text_tokens(config_), net_.config.crossattn_emb_channels}, net_.dtype());
    if (leads()) {
      const at::Tensor encoded = text->encode({prompt}).to(net_.seq.value().device(), net_.dtype());
      projected = net_.project_text(Variable(encoded)).value().to(at::kCPU);
    }
    broadcast_tensors(*ranks_.all, {projected}, 0, "prompt");
    texts_[prompt] = projected;
  }
}

at::Tensor FilmMaker::text_of_prompt(const std::string& prompt) const {
  const auto known = texts_.find(prompt);
  require(known != texts_.end(), "film: the text \"", prompt, "\" was not learnt");
  return known->second.to(net_.seq.value().device());
}

// Latents of the given frames, and zeros behind them, which nobody reads: (1,C,T,h,w).
at::Tensor FilmMaker::encoded(const at::Tensor& given, const std::vector<int64_t>& shape) const {
  const at::Tensor x0 = at::zeros(shape, exact_type(net_));
  if (given.defined()) {
    const at::Tensor latent = tokenizer_.encode(given.permute({3, 0, 1, 2}).unsqueeze(0).contiguous());
    x0.slice(2, 0, latent.size(2)).copy_(latent);
  }
  broadcast_tensors(*ranks_.all, {x0}, 0, "given frames");
  return x0;
}

flow::GenerateConfig FilmMaker::settings(const FilmRequest& request, const FilmChunk& chunk) const {
  flow::GenerateConfig c = flow::generate_config(config_.sample, config_.flow, net_.dtype());
  const FilmSize size = film_size(request, config_.data);
  if (c.shift == 0) c.shift = flow::shift_for_resolution(size.height, size.width);
  c.steps = request.num_steps;
  c.guidance = static_cast<double>(request.guidance);
  c.condition_frames = chunk.given;
  return c;
}

std::vector<int64_t> FilmMaker::latent_shape(const FilmRequest& request) const {
  const FilmSize size = film_size(request, config_.data);
  std::vector<int64_t> shape = tokenizer_.latent_shape(config_.data.frames, size.height, size.width);
  shape.insert(shape.begin(), 1);
  return shape;
}

// Drawn beside other work: numpy's stream comes one number after another, millions of them.
FilmMaker::Noise FilmMaker::draw(const FilmRequest& request, const FilmChunk& chunk) const {
  return std::async(std::launch::async, [seed = chunk.seed, shape = latent_shape(request)] {
    const c10::InferenceMode inference;
    return flow::numpy_normal(seed, shape);
  });
}

// given: uint8 (N,height,width,3) or undefined.
at::Tensor FilmMaker::latent(const FilmRequest& request, const FilmChunk& chunk, const at::Tensor& given,
                             Noise noise) {
  const at::Device device = net_.seq.value().device();
  flow::GenerateInput in;
  in.text = text_of_prompt(request.prompt);
  in.negative_text = text_of_prompt(request.negative_prompt);
  {
    const Stopwatch watch(times_.encode_s);
    in.x0 = encoded(given, latent_shape(request)).to(device);
    in.noise = noise.get().to(in.x0.options());
  }
  in.kind = config_.data.frames == 1 ? flow::BatchKind::image : flow::BatchKind::video;
  in.branches = branches_;
  const Stopwatch watch(times_.denoise_s);
  return flow::generate_latent(settings(request, chunk), denoiser_, in).to(at::kCPU, at::kFloat);
}

at::Tensor FilmMaker::frames_of(const at::Tensor& latent) const {
  return tokenizer_.decode(latent)[0].permute({1, 2, 3, 0}).contiguous();
}

at::Tensor FilmMaker::operator()(const FilmRequest& request, int64_t seed, const at::Tensor& input) {
  times_ = {};
  const FilmSize size = film_size(request, config_.data);
  const std::vector<FilmChunk> chunks = film_chunks(request, seed, config_.data.frames);
  Noise noise = draw(request, chunks[0]);
  at::Tensor given;
  if (request.given() > 0) {
    const int64_t pixels = given_pixels(request.given());
    given =
        condition_clip(
            input, {.frames = pixels, .height = size.height, .width = size.width, .given = request.given()})
            .permute({1, 2, 3, 0});
  }
  Tensors film;
  for (size_t k = 0; k < chunks.size(); ++k) {
    Noise next = k + 1 < chunks.size() ? draw(request, chunks[k + 1]) : Noise();
    const at::Tensor made = latent(request, chunks[k], given, std::exchange(noise, std::move(next)));
    const Stopwatch watch(times_.decode_s);
    const at::Tensor frames = leads() || ranks_.decode_together ? frames_of(made) : at::Tensor();
    if (leads()) film.push_back(frames.slice(0, 0, chunks[k].frames));
    if (k + 1 == chunks.size()) break;
    const int64_t carried = chunks[k + 1].carried;
    given = at::empty({carried, size.height, size.width, 3}, at::kByte);
    if (leads()) given.copy_(film.back().slice(0, film.back().size(0) - carried));
    broadcast_tensors(*ranks_.all, {given}, 0, "carried frames");
    if (carried == 0) given = at::Tensor();
  }
  if (!leads()) return {};
  if (film.size() == 1) return film[0];
  for (size_t k = 1; k < film.size(); ++k) film[k] = film[k].slice(0, chunks[k].carried);
  return at::cat(film);
}

}  // namespace orrery
