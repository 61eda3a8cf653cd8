#include "text/unigram_tokenizer.h"

#include <sentencepiece_processor.h>

#include "base/error.h"
#include "base/printable.h"
#include "text/unicode.h"

namespace orrery {

struct UnigramTokenizer::Model {
  sentencepiece::SentencePieceProcessor processor;
};

UnigramTokenizer::UnigramTokenizer(const std::filesystem::path& file) {
  std::error_code error;
  require(std::filesystem::is_regular_file(file, error), file.string(), ": no tokenizer file there");
  auto model = std::make_unique<Model>();
  const auto status = model->processor.Load(file.string());
  require(status.ok(), file.string(), ": no SentencePiece model: ", status.ToString());
  require(model->processor.eos_id() >= 0, file.string(), ": a SentencePiece model without </s>, wanted T5's");
  model_ = std::move(model);
}

UnigramTokenizer::~UnigramTokenizer() = default;

std::vector<int64_t> UnigramTokenizer::encode(std::string_view text, int64_t length) const {
  require(length >= 1, "a prompt of ", length, " tokens");
  require(is_valid_utf8(text), "the text to tokenize is not UTF-8: ", printable(text));
  std::vector<int> pieces;
  const auto status = model_->processor.Encode({text.data(), text.size()}, &pieces);
  require(status.ok(), "SentencePiece cannot encode ", printable(text), ": ", status.ToString());
  if (std::ssize(pieces) >= length) pieces.resize(static_cast<size_t>(length - 1));
  pieces.push_back(model_->processor.eos_id());
  return {pieces.begin(), pieces.end()};
}

int64_t UnigramTokenizer::num_pieces() const {
  return model_->processor.GetPieceSize();
}

}  // namespace orrery
