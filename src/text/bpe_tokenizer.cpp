#include "text/bpe_tokenizer.h"

#include <algorithm>
#include <fstream>
#include <mutex>

#include "base/error.h"
#include "base/printable.h"
#include "text/tokenizer_json.h"
#include "text/unicode.h"
#include "text/word_split.h"

namespace orrery {
namespace {

constexpr uintmax_t kMaxFileBytes = 256 << 20;  // tokenizers of 0.3 million tokens have about 30 MB
constexpr size_t kMaxWordBytes = 64;            // longer words are rare: they are merged again each time
constexpr size_t kMaxWords = 1 << 17;           // cached, then all are dropped: about 15 MB

std::string read_text(const std::filesystem::path& path) {
  std::error_code error;
  require(std::filesystem::is_regular_file(path, error), path.string(), ": no tokenizer file there");
  const uintmax_t bytes = std::filesystem::file_size(path, error);
  require(!error && bytes <= kMaxFileBytes, path.string(), ": a tokenizer of ", bytes, " bytes, at most ",
          kMaxFileBytes);
  std::string text(bytes, '\0');
  std::ifstream in(path, std::ios::binary);
  in.read(text.data(), static_cast<std::streamsize>(bytes));
  require(in.gcount() == static_cast<std::streamsize>(bytes), path.string(), ": cannot be read");
  return text;
}

int64_t num_ids_of(const BpeFile& file) {
  int32_t largest = *std::max_element(file.bytes.begin(), file.bytes.end());
  for (const Bpe::Merge& merge : file.merges) largest = std::max(largest, merge.merged);
  for (const auto& [content, id] : file.added) largest = std::max(largest, id);
  return int64_t{largest} + 1;
}

}  // namespace

// Ids of words met before, end to end.
struct BpeTokenizer::Cache {
  struct Range {
    uint32_t begin, end;
  };
  std::mutex mutex;
  StringMap<Range> words;
  std::vector<int32_t> ids;
};

BpeTokenizer::BpeTokenizer(const std::filesystem::path& file) : cache_(std::make_unique<Cache>()) {
  const std::string text = read_text(file);
  try {
    BpeFile contents = parse_tokenizer_json(text);
    num_ids_ = num_ids_of(contents);
    bpe_ = std::make_unique<Bpe>(contents.bytes, contents.merges);
    added_ = std::make_unique<AddedTokens>(std::move(contents.added));
    has_nfc_ = contents.has_nfc;
  } catch (const Error& error) {
    throw Error(text_of(file.string(), ": ", error.what()), error.code(), error.where());
  }
}

BpeTokenizer::~BpeTokenizer() = default;

std::vector<int64_t> BpeTokenizer::encode(std::string_view text) const {
  require(is_valid_utf8(text), "the text to tokenize is not UTF-8: ", printable(text));
  const std::lock_guard lock(cache_->mutex);
  std::vector<int32_t> ids;
  for (size_t begin = 0; begin < text.size();) {
    const AddedTokens::Match token = added_->find(text, begin);
    append_span(text.substr(begin, token.begin - begin), ids);
    if (token.begin < token.end) ids.push_back(token.id);
    begin = token.end;
  }
  return {ids.begin(), ids.end()};
}

void BpeTokenizer::append_span(std::string_view span, std::vector<int32_t>& ids) const {
  const std::string normal = has_nfc_ && !is_ascii(span) ? to_nfc(span) : "";
  if (!normal.empty()) span = normal;
  for (size_t begin = 0, end = 0; begin < span.size(); begin = end) {
    end = word_end(span, begin);
    append_word(span.substr(begin, end - begin), ids);
  }
}

void BpeTokenizer::append_word(std::string_view word, std::vector<int32_t>& ids) const {
  Cache& cache = *cache_;
  if (const auto found = cache.words.find(word); found != cache.words.end()) {
    ids.insert(ids.end(), cache.ids.begin() + found->second.begin, cache.ids.begin() + found->second.end);
    return;
  }
  const size_t before = ids.size();
  bpe_->append(word, ids);
  if (word.size() > kMaxWordBytes) return;
  if (cache.words.size() == kMaxWords) {
    cache.words.clear();
    cache.ids.clear();
  }
  const auto begin = static_cast<uint32_t>(cache.ids.size());
  cache.ids.insert(cache.ids.end(), ids.begin() + static_cast<std::ptrdiff_t>(before), ids.end());
  cache.words.emplace(word, Cache::Range{begin, static_cast<uint32_t>(cache.ids.size())});
}

int64_t BpeTokenizer::added_id(std::string_view content) const {
  const auto found = added_->ids().find(content);
  require(found != added_->ids().end(), "the tokenizer has no added token ", printable(content));
  return found->second;
}

}  // namespace orrery
