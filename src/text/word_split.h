#pragma once
// Cuts text into the words that byte-level BPE merges within, as the tokenizers of Qwen2 and its successors
// do. Used by BpeTokenizer.
#include <string_view>

namespace orrery {

// The expression of their tokenizer.json, and the only one that is known here.
inline constexpr std::string_view kQwenWords =
    R"((?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+)";

// Where the word ends that begins at `begin` < text.size(): the first alternative of kQwenWords that matches
// there. text is UTF-8 (is_utf8), begin the first byte of a character. \p{L} and \p{N} are Unicode's general
// categories, \s its White_Space.
size_t word_end(std::string_view text, size_t begin);

}  // namespace orrery
