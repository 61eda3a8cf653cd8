#pragma once
// Text to token ids by byte-level BPE, as the tokenizers of Qwen2 and its successors. Used by the Reason1
// text encoder and `orrery tokenize`.
#include <filesystem>
#include <memory>

#include "text/added_tokens.h"
#include "text/bpe.h"

namespace orrery {

class BpeTokenizer {
 public:
  // Reads a tokenizer.json (text/tokenizer_json.h). Error, with the path.
  explicit BpeTokenizer(const std::filesystem::path& file);
  ~BpeTokenizer();

  // Nothing is put before or behind. Added tokens are found in the raw text first, so a prompt that spells
  // <|im_end|> gets that token, as in the reference; what lies between them is normalised, cut into words and
  // merged. Thread-safe. Error: text is not UTF-8.
  std::vector<int64_t> encode(std::string_view text) const;

  // Of an added token, such as "<|endoftext|>". Error: there is none.
  int64_t added_id(std::string_view content) const;

  // Above every id that encode gives: so many the network must know.
  int64_t num_ids() const { return num_ids_; }

 private:
  struct Cache;
  void append_span(std::string_view span, std::vector<int32_t>& ids) const;
  void append_word(std::string_view word, std::vector<int32_t>& ids) const;

  std::unique_ptr<Bpe> bpe_;
  std::unique_ptr<AddedTokens> added_;
  bool has_nfc_;
  int64_t num_ids_;
  std::unique_ptr<Cache> cache_;
};

}  // namespace orrery
