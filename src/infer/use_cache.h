#pragma once
// What training takes from a cache (data.cache) in place of the tokenizer's and the text encoder's work.
#include "data/loader.h"
#include "infer/make_tokenizer.h"
#include "model/text_encoder.h"
#include "parallel/comm.h"

namespace orrery {

struct RunData {
  std::vector<LoaderPart> parts;
  std::vector<std::string> notes;  // lines for the log: what the cache lacks
};
// The parts of the run's mixture, those films with stored latents that data.cache has. Throws Error where the
// cache was made with another tokenizer or other clips, or lacks films and data.uncached is refuse.
RunData run_data(const Config& config, const DataSets& sets, const TokenizerRecord& tokenizer);

// The run's text encoder, behind the embeddings that data.cache has. Throws Error where they are of another
// encoder. ranks: all of the run; collective.
std::unique_ptr<TextEncoder> run_text(const Config& config, at::Device device, Comm& ranks);

// Whether data.cache leaves films, or prompts, to encode, for plans: it has what it was made for. A cache
// need not have embeddings; one that is not on this machine is taken to have them.
bool encodes_films(const Config& config);
bool encodes_prompts(const Config& config);

}  // namespace orrery
