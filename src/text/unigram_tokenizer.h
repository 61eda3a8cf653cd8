#pragma once
// Text to token ids by a SentencePiece model, for T5. Used by the T5 text encoder.
#include <filesystem>
#include <memory>
#include <string_view>
#include <vector>

namespace orrery {

class UnigramTokenizer {
 public:
  // Reads a spiece.model. Error, with the path: no such file, no SentencePiece model, one without </s>.
  explicit UnigramTokenizer(const std::filesystem::path& file);
  ~UnigramTokenizer();

  // Normalised and cut into pieces as the model says, </s> behind them; at most `length` ids, of which </s>
  // is the last. Thread-safe. Error: text is not UTF-8.
  std::vector<int64_t> encode(std::string_view text, int64_t length) const;
  int64_t num_pieces() const;

 private:
  struct Model;
  std::unique_ptr<const Model> model_;
};

}  // namespace orrery
