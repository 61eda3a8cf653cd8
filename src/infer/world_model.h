#pragma once
// WorldModel: network and text encoder of a run, put together from its settings (its tokenizer:
// make_tokenizer.h). Trainer, samples, evaluation and the generate command all start here.
#include "base/config.h"
#include "base/shard.h"
#include "flow/denoise.h"
#include "model/dit.h"
#include "model/text_encoder.h"
#include "model/tokenizer.h"

namespace orrery {

at::ScalarType scalar_type(Dtype dtype);
at::Device device_of(const NumericsConfig& numerics, int local_rank);

// The preset with the settings' overrides and with the channels of tokenizer and text. Throws Error where
// they clash.
DiTConfig dit_config(const Config& config);

// Length of the prompts' embedding: text.tokens, or 512, as all released models have; of hashed words the
// preset's.
int64_t text_tokens(const Config& config);

// What the text of a denoiser's input is: the encoder's, or DiT::project_text of it.
enum class TextForm { encoded, projected };

DiTInput dit_input(const flow::DenoiserInput& in, TextForm text = TextForm::encoded);
// The network as the flow knows it: a function from noisy latents to velocities.
flow::Denoiser denoiser_of(const DiT& net, TextForm text = TextForm::encoded);

// Buffers, and parameters of a network that is not sharded, under their keys; they share storage.
std::vector<ShardView> buffers_of(const DiT& net);
std::vector<ShardView> parameters_of(const DiT& net);

// Copies the tensors of a file or folder of any format (ckpt/weight_file.h) into the network; returns a
// report. Every parameter and buffer must be there with its shape, under a name that the rules of
// ckpt/key_rules.h know, and every tensor of the file must be used; else Error with the lists. Weights::ema
// takes the averages.
std::string load_weights(const std::filesystem::path& file, DiT& net, Weights weights);
// The same into shards of all the network's parameters; only their rows are read. partial: patterns of names
// that may be left out, which the report then lists.
std::string load_weights(const std::filesystem::path& file, DiT& net,
                         const std::vector<ShardView>& parameters, Weights weights,
                         const std::vector<std::string>& partial = {});

// Settings of 0 that stand for "by resolution" (flow.shift, sample.shift) replaced by their values.
void resolve_settings(Config& config);

}  // namespace orrery
