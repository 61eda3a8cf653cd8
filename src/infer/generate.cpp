#include "infer/generate.h"

#include <ATen/ops/stack.h>

#include "base/error.h"
#include "flow/numpy_random.h"

namespace orrery {

Generator::Generator(const Config& config, const DiT& net, flow::Denoiser denoiser,
                     const VideoTokenizer& tokenizer, const TextEncoder& text)
    : config_(config),
      net_(net),
      tokenizer_(tokenizer),
      text_(text),
      generate_(flow::generate_config(config.sample, config.flow, net.dtype())),
      denoiser_(std::move(denoiser)) {}

at::Tensor Generator::operator()(const at::Tensor& video, const std::vector<std::string>& prompts,
                                 const std::vector<int64_t>& seeds, const at::Tensor& padding_mask) const {
  const auto clips = static_cast<size_t>(video.size(0));
  require(prompts.size() == clips && seeds.size() == clips, "generate: ", clips, " clips, ", prompts.size(),
          " prompts, ", seeds.size(), " seeds");
  const at::Device device = net_.seq.value().device();
  const at::ScalarType exact = net_.dtype() == at::kDouble ? at::kDouble : at::kFloat;
  flow::GenerateInput in;
  in.x0 = tokenizer_.encode(video).to(device, exact);
  Tensors noise;
  for (const int64_t seed : seeds) noise.push_back(flow::numpy_normal(seed, in.x0.sizes().slice(1)));
  in.noise = at::stack(noise).to(device, exact);
  in.text = text_.encode(prompts).to(device, net_.dtype());
  if (!config_.sample.negative_prompt.empty())
    in.negative_text = text_.encode(std::vector<std::string>(clips, config_.sample.negative_prompt))
                           .to(device, net_.dtype());
  if (padding_mask.defined()) in.padding_mask = padding_mask.to(device, net_.dtype());
  in.kind = video.size(2) == 1 ? flow::BatchKind::image : flow::BatchKind::video;
  return tokenizer_.decode(flow::generate_latent(generate_, denoiser_, in).to(at::kCPU, at::kFloat));
}

}  // namespace orrery
