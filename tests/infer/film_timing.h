#pragma once
// Whole films, timed: made as the generate command makes them, by context x branches ranks together that
// share the work of the Wan autoencoder. Weights are random, prompts hashed. For the tests of generation on
// several ranks; the sizes of the released models are timed on GPUs, small ones run the same code anywhere.
#include <chrono>

#include "infer/make_tokenizer.h"
#include "infer/small_model.h"
#include "parallel/mesh.h"
#include "parallel/row_exchange.h"
#include "random_weights.h"

namespace orrery::test {

struct FilmLayout {
  int context = 1, branches = 1;
  int64_t head_groups = 1;
};
inline std::vector<FilmLayout> film_layouts(int ranks) {
  if (ranks % 2 != 0) return {{ranks, 1}};
  return {{ranks, 1}, {ranks / 2, 2}};
}

// The 2B model as released, on GPUs.
inline Config released_size() {
  Config c;
  c.model.preset = "2b";
  c.numerics = {.dtype = Dtype::bfloat16, .device = Device::cuda};
  c.tokenizer.kind = TokenizerKind::wan;
  c.tokenizer.weights = "random";
  c.text.tokens = 512;
  return c;
}
inline Config small_size(Device device, Dtype net, Dtype autoencoder) {
  Config c = small_config(net);
  c.numerics.device = device;
  c.tokenizer = {.kind = TokenizerKind::wan, .weights = "random", .width = 8, .dtype = autoencoder};
  return c;
}

// The ranks that make it: on the host, and where the model is. The same ranks in the same order.
struct FilmParty {
  at::Device device;
  Comm *host, *model;
};

struct TimedFilm {
  at::Tensor film;  // on the first rank
  FilmTimes parts;
  double seconds = 0;
};

// Times the second film: before it kernels are loaded and chosen, once a batch. Collective.
inline TimedFilm timed_film(const Config& c, const FilmParty& party, const FilmLayout& layout,
                            const FilmRequest& request) {
  const Mesh mesh(*party.model, std::vector<int>(static_cast<size_t>(party.host->size()), 0),
                  {.replicate = 1, .shard = layout.branches, .context = layout.context});
  const std::unique_ptr<Comm> all =
      party.host->split(0, mesh.shard().rank() * layout.context + mesh.context().rank(), "film");
  const bool is_shared = all->size() > 1;
  DiT net(dit_config(c));
  net.materialize(party.device, scalar_type(c.numerics.dtype));
  draw_weights(net);
  const RunTokenizer tokenizer = tokenizer_of_weights(
      "/none", c, party.device, is_shared ? row_exchange(mesh.along({Axis::shard, Axis::context})) : nullptr);
  Config grouped = c;
  grouped.parallel.head_groups = layout.head_groups;
  FilmMaker maker(grouped, net, *tokenizer.tokenizer,
                  {.context = &mesh.context(),
                   .branches = &mesh.shard(),
                   .all = all.get(),
                   .decode_together = is_shared});
  maker.learn({request.prompt, request.negative_prompt}, make_text_encoder(c, party.device).get());
  const auto given =
      (Rng(7, "input").uniform_tensor({1, c.data.height, c.data.width, 3}) * 255).to(at::kByte);

  FilmRequest short_one = request;
  short_one.num_steps = 2;
  maker(short_one, 1, given);
  all->barrier("begin of a film").wait();
  const auto begin = std::chrono::steady_clock::now();
  const at::Tensor film = maker(request, 2, given);
  const std::chrono::duration<double> took = std::chrono::steady_clock::now() - begin;
  return {film, maker.times(), took.count()};
}

}  // namespace orrery::test
