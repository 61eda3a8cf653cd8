#include "infer/make_text_encoder.h"

#include "base/error.h"
#include "infer/network_files.h"
#include "infer/reason1_text.h"
#include "infer/t5_text.h"
#include "infer/table_text.h"
#include "infer/world_model.h"
#include "model/hash_text.h"

namespace orrery {
namespace {

// text.tokenizer, or the file of that name beside the weights.
std::filesystem::path tokenizer_of(const TextConfig& text, const char* name) {
  require(!text.weights.empty(),
          "text.weights is empty; wanted the file or folder of the text encoder's weights ",
          "(text.kind=", name_of(text.kind), ")");
  return text.tokenizer.empty() ? folder_of_weights(text.weights) / name
                                : std::filesystem::path(text.tokenizer);
}

std::unique_ptr<TextEncoder> make(const Config& config, at::Device device) {
  const TextConfig& text = config.text;
  const at::ScalarType type = scalar_type(text.dtype);
  const int64_t tokens = text_tokens(config);
  switch (text.kind) {
    case TextKind::hash:
      return std::make_unique<HashText>(tokens, dit_config(config).text_channels());
    case TextKind::reason1: {
      const auto tokenizer = tokenizer_of(text, "tokenizer.json");
      return std::make_unique<Reason1Text>(load_reason1(text.weights, type, device), tokenizer, text.join,
                                           tokens);
    }
    case TextKind::t5: {
      const auto tokenizer = tokenizer_of(text, "spiece.model");
      return std::make_unique<T5Text>(load_t5(text.weights, type, device), tokenizer, tokens);
    }
    case TextKind::table:
      require(!text.path.empty(),
              "text.path is empty; wanted a file or folder of embeddings (text.kind=table)");
      return std::make_unique<TableText>(text.path, tokens);
  }
  fail("unknown kind of text encoder");
}

}  // namespace

std::unique_ptr<TextEncoder> make_text_encoder(const Config& config, at::Device device) {
  auto encoder = make(config, device);
  const int64_t wanted = dit_config(config).text_channels();
  require(encoder->channels() == wanted, "text.kind=", name_of(config.text.kind), ": embeddings of ",
          encoder->channels(), " channels, the model reads ", wanted,
          " (text.channels, or that of model.preset)");
  return encoder;
}

std::map<std::string, std::string> text_digests(const TextConfig& text) {
  if (text.kind == TextKind::hash) return {};
  if (text.kind == TextKind::table) return {{"text.path", TableText(text.path, 1).identity()}};
  const bool is_reason1 = text.kind == TextKind::reason1;
  std::map<std::string, std::string> digests = {
      {"text.weights", digest_of_stored(text.weights)},
      {"text.tokenizer", digest_of_file(tokenizer_of(text, is_reason1 ? "tokenizer.json" : "spiece.model"))},
      {"text.dtype", std::string(name_of(text.dtype))}};
  if (is_reason1) digests["text.join"] = name_of(text.join);
  return digests;
}

}  // namespace orrery
