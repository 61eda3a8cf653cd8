#pragma once
// The tokenizer.json of Hugging Face's tokenizers, as far as the byte-level BPE of Qwen2 and its successors
// goes. Used by BpeTokenizer.
#include <array>

#include "text/bpe.h"
#include "text/string_map.h"

namespace orrery {

struct BpeFile {
  std::array<int32_t, 256> bytes;  // id of each byte's token
  std::vector<Bpe::Merge> merges;
  StringMap<int32_t> added;  // by content
  bool has_nfc = false;      // text is brought to Normalisation Form C
};

// Error, naming the field: not such a file, or one that asks for what we do not do. Whatever changes ids is
// either understood or refused: types and options of normalizer, pre_tokenizer, post_processor and model,
// flags of added tokens, truncation, padding. The decoder is not read. Both forms of merges are taken.
BpeFile parse_tokenizer_json(std::string_view text);

}  // namespace orrery
