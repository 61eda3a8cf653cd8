#pragma once
// The prompt of the Reason1 text encoder: the chat template of Qwen2.5-VL with a fixed system turn. Source:
// cosmos-predict2.5 predict2/text_encoders/text_encoder.py, compute_text_embeddings_online.
#include <string>
#include <string_view>
#include <vector>

#include "text/bpe_tokenizer.h"

namespace orrery {

// Its states are part of the embedding: byte for byte as in the reference.
inline constexpr std::string_view kReason1System =
    "You are a helpful assistant who will provide prompts to an image generator.";
inline constexpr std::string_view kPadToken = "<|endoftext|>";

// A system and a user turn, without a turn to generate.
std::string chat_of(std::string_view system, std::string_view caption);

// `length` ids of the chat: behind the last come pads; what is longer is cut, so that the turn's end is lost.
std::vector<int64_t> chat_ids(const BpeTokenizer& tokenizer, std::string_view chat, int64_t length,
                              int64_t pad_id);

}  // namespace orrery
