#pragma once
// FilmMaker: films of requests, made by one rank or by a group of ranks together. Called by the batch of the
// generate command.
#include <future>
#include <map>

#include "base/config.h"
#include "flow/generate.h"
#include "infer/continuation.h"
#include "infer/world_model.h"
#include "model/tokenizer.h"
#include "parallel/comm.h"

namespace orrery {

// The ranks that make a film together. Comms of one rank: it makes films alone.
struct FilmRanks {
  Comm* context = nullptr;   // ranks that share a clip's latent frames; on the model's device
  Comm* branches = nullptr;  // of two ranks: they take a branch of the guidance each; on the model's device
  Comm* all = nullptr;       // all of the group; on the CPU. Its rank 0 leads
  bool decode_together = false;  // the tokenizer's work is shared by all ranks of the group
};

struct FilmTimes {
  double encode_s = 0, denoise_s = 0, decode_s = 0;
};

class FilmMaker {
 public:
  // net: with its weights; attention is changed where context ranks share clips. All must outlive the maker.
  FilmMaker(const Config& config, DiT& net, const VideoTokenizer& tokenizer, const FilmRanks& ranks);

  // Encodes and projects the texts of films to come, each once, so that the encoder may go. text: read on the
  // group's leader, may be null elsewhere. Collective over the group.
  void learn(const std::vector<std::string>& prompts, const TextEncoder* text);

  // input: uint8 (N,H,W,3), of which the last given_pixels(request.given()) frames are given; undefined where
  // none are. Returns uint8 (F,height,width,3) on the leader, and an undefined tensor on the others.
  // Its prompts were learnt. Collective over the group. The same seed gives the same film: on a group with
  // two branches bit for bit that of one rank, with context ranks up to the order of sums.
  at::Tensor operator()(const FilmRequest& request, int64_t seed, const at::Tensor& input);
  const FilmTimes& times() const { return times_; }  // of the last film

 private:
  at::Tensor text_of_prompt(const std::string& prompt) const;
  using Noise = std::future<at::Tensor>;
  std::vector<int64_t> latent_shape(const FilmRequest& request) const;
  Noise draw(const FilmRequest& request, const FilmChunk& chunk) const;
  at::Tensor latent(const FilmRequest& request, const FilmChunk& chunk, const at::Tensor& given, Noise noise);
  at::Tensor frames_of(const at::Tensor& latent) const;
  at::Tensor encoded(const at::Tensor& given, const std::vector<int64_t>& shape) const;
  flow::GenerateConfig settings(const FilmRequest& request, const FilmChunk& chunk) const;
  bool leads() const { return ranks_.all->rank() == 0; }

  const Config& config_;
  DiT& net_;
  const VideoTokenizer& tokenizer_;
  FilmRanks ranks_;
  flow::Denoiser denoiser_;
  flow::BranchesFn branches_;
  std::map<std::string, at::Tensor> texts_;  // by prompt: projected, on the CPU
  FilmTimes times_;
};

// Height and width of the request's film.
struct FilmSize {
  int64_t height, width;
};
FilmSize film_size(const FilmRequest& request, const DataConfig& data);

}  // namespace orrery
