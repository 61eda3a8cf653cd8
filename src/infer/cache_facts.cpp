#include "infer/cache_facts.h"

#include <nlohmann/json.hpp>

#include "ckpt/digest.h"
#include "infer/make_text_encoder.h"
#include "infer/world_model.h"
#include "model/text_encoder.h"
#include "parallel/agreement.h"

namespace orrery {
namespace {

std::string digest_of_tensors(const std::map<std::string, at::Tensor>& tensors) {
  DigestStream digest;
  for (const auto& [name, tensor] : tensors) {
    digest.add(name);
    const at::Tensor values = tensor.cpu().contiguous();
    digest.add({static_cast<const char*>(values.const_data_ptr()), static_cast<size_t>(values.nbytes())});
  }
  return hex_of(digest.value());
}

}  // namespace

std::filesystem::path latents_folder(const std::filesystem::path& cache) {
  return cache / "latents";
}
std::filesystem::path text_folder(const std::filesystem::path& cache) {
  return cache / "text";
}

CacheFacts latent_facts(const Config& c, const TokenizerRecord& tokenizer) {
  CacheFacts facts = {{"data.frames", std::to_string(c.data.frames)},
                      {"data.height", std::to_string(c.data.height)},
                      {"data.width", std::to_string(c.data.width)},
                      {"data.stride", std::to_string(c.data.stride)},
                      {"data.resize", std::string(name_of(c.data.resize))},
                      {"tokenizer.channels", std::to_string(c.tokenizer.channels)}};
  for (const auto& [name, value] : tokenizer.facts) facts["tokenizer." + name] = value;
  if (c.tokenizer.kind == TokenizerKind::wan) {
    facts["tokenizer.dtype"] = name_of(c.tokenizer.dtype);
    facts["tokenizer.encode_window"] = std::to_string(c.tokenizer.encode_window);
  } else {
    facts["tokenizer.basis"] = digest_of_tensors(tokenizer.tensors);
  }
  return facts;
}

CacheFacts text_facts(const Config& c, Comm& ranks) {
  CacheFacts facts = {{"text.kind", std::string(name_of(c.text.kind))},
                      {"text.tokens", std::to_string(text_tokens(c))},
                      {"text.channels", std::to_string(dit_config(c).text_channels())}};
  const std::string digests = text_of_first(ranks, "digests of the text encoder's files", [&] {
    return nlohmann::json(text_digests(c.text))
        .dump(-1, ' ', false, nlohmann::json::error_handler_t::replace);
  });
  facts.merge(nlohmann::json::parse(digests).get<CacheFacts>());
  return facts;
}

}  // namespace orrery
