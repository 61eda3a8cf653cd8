#include "text/tokenizer_json.h"

#include <limits>
#include <unordered_set>

#include "base/error.h"
#include "base/printable.h"
#include "base/strict_json.h"
#include "text/word_split.h"

namespace orrery {
namespace {

using nlohmann::json;

constexpr int kMaxDepth = 16;
constexpr size_t kMaxTokens = 10'000'000;  // the largest vocabularies have 0.3 million

std::string shown(const json& value) {
  return printable(value.dump(-1, ' ', false, json::error_handler_t::replace));
}

const json& field(const json& object, const std::string& where, const std::string& name) {
  require(object.is_object(), where, " is no object");
  const auto found = object.find(name);
  require(found != object.end(), where, " has no field ", name);
  return *found;
}

// Refuses every value of an option but these; an absent one counts as the first.
void check_option(const json& object, const std::string& where, const std::string& name,
                  const std::vector<json>& allowed) {
  require(object.is_object(), where, " is no object");
  const json value = object.value(name, allowed.front());
  require(std::find(allowed.begin(), allowed.end(), value) != allowed.end(), where, ".", name, " is ",
          shown(value), ", which is not supported (wanted ", allowed.front().dump(), ")");
}

void check_type(const json& object, const std::string& where, const std::string& wanted) {
  const json& type = field(object, where, "type");
  require(type == wanted, where, ".type is ", shown(type), ", which is not supported (wanted ", wanted, ")");
}

int32_t id_value(const json& value, std::string_view token) {
  const bool fits = value.is_number_unsigned() &&
                    value.get<uint64_t>() <= std::numeric_limits<int32_t>::max();  // else undefined
  require(fits, "the id of token ", printable(token), " is ", shown(value), ", wanted a whole number from 0");
  return static_cast<int32_t>(value.get<uint64_t>());
}

// The character that stands for a byte in vocab and merges (GPT-2): printable bytes for themselves, the
// others are U+0100 on, in UTF-8.
std::string byte_name(int byte) {
  const auto is_printable = [](int b) {
    return (b >= 33 && b <= 126) || (b >= 161 && b <= 172) || (b >= 174 && b <= 255);
  };
  int code = byte;
  if (!is_printable(byte)) {
    code = 256;
    for (int other = 0; other < byte; ++other) code += is_printable(other) ? 0 : 1;
  }
  if (code < 128) return {static_cast<char>(code)};
  return {static_cast<char>(0xC0 | code >> 6), static_cast<char>(0x80 | (code & 0x3F))};
}

StringMap<int32_t> read_vocab(const json& model) {
  const json& vocab = field(model, "model", "vocab");
  require(vocab.is_object() && vocab.size() <= kMaxTokens, "model.vocab is no object of at most ", kMaxTokens,
          " tokens");
  StringMap<int32_t> ids;
  ids.reserve(vocab.size());
  std::unordered_set<int32_t> used;
  for (const auto& [token, id] : vocab.items()) {
    ids.emplace(token, id_value(id, token));
    require(used.insert(ids.find(token)->second).second, "model.vocab: token ", printable(token),
            " has the id of another token, ", shown(id));
  }
  return ids;
}

std::array<int32_t, 256> byte_ids(const StringMap<int32_t>& vocab) {
  std::array<int32_t, 256> ids{};
  for (int byte = 0; byte < 256; ++byte) {
    const auto found = vocab.find(byte_name(byte));
    require(found != vocab.end(), "model.vocab has no token for byte ", byte,
            " (is this another kind of tokenizer than byte-level BPE?)");
    ids[static_cast<size_t>(byte)] = found->second;
  }
  return ids;
}

// "a b" or ["a", "b"].
std::pair<std::string, std::string> merge_pair(const json& merge, size_t rank) {
  if (merge.is_array() && merge.size() == 2 && merge[0].is_string() && merge[1].is_string())
    return {merge[0].get<std::string>(), merge[1].get<std::string>()};
  const std::string text = merge.is_string() ? merge.get<std::string>() : "";
  const size_t space = text.find(' ');
  require(space != text.npos && text.find(' ', space + 1) == text.npos, "model.merges: merge ", rank, " is ",
          shown(merge), ", wanted \"A B\" or [\"A\", \"B\"]");
  return {text.substr(0, space), text.substr(space + 1)};
}

std::vector<Bpe::Merge> read_merges(const json& model, const StringMap<int32_t>& vocab) {
  const json& list = field(model, "model", "merges");
  require(list.is_array() && list.size() <= kMaxTokens, "model.merges is no list of at most ", kMaxTokens,
          " merges");
  std::vector<Bpe::Merge> merges;
  merges.reserve(list.size());
  for (size_t rank = 0; rank < list.size(); ++rank) {
    const auto [left, right] = merge_pair(list[rank], rank);
    const auto id = [&](const std::string& token) {
      const auto found = vocab.find(token);
      require(found != vocab.end(), "model.merges: merge ", rank, " needs token ", printable(token),
              ", which model.vocab lacks");
      return found->second;
    };
    merges.push_back({id(left), id(right), id(left + right)});
  }
  return merges;
}

void check_model(const json& model) {
  check_type(model, "model", "BPE");
  check_option(model, "model", "dropout", {nullptr, 0.0});
  for (const char* affix : {"continuing_subword_prefix", "end_of_word_suffix"})
    check_option(model, "model", affix, {nullptr, ""});
  for (const char* option : {"byte_fallback", "ignore_merges"})
    check_option(model, "model", option, {false, nullptr});
}

StringMap<int32_t> read_added(const json& file, const StringMap<int32_t>& vocab) {
  StringMap<int32_t> added;
  std::unordered_set<int32_t> used;
  for (const auto& [content, id] : vocab) used.insert(id);
  const json list = file.value("added_tokens", json::array());
  require(list.is_array() && list.size() <= kMaxTokens, "added_tokens is no list of at most ", kMaxTokens,
          " tokens");
  for (const json& token : list) {
    const json& name = field(token, "added_tokens: an entry", "content");
    require(name.is_string() && !name.get<std::string>().empty(), "added_tokens: a content is ", shown(name));
    const std::string content = name.get<std::string>(), where = "added token " + printable(content);
    const int32_t id = id_value(field(token, where, "id"), content);
    for (const char* flag : {"single_word", "lstrip", "rstrip", "normalized"})
      check_option(token, where, flag, {false});
    const auto known = vocab.find(content);
    const bool is_free = known == vocab.end() ? used.insert(id).second : known->second == id;
    require(is_free, where, ": id ", id, " belongs to another token, or model.vocab gives it another id");
    require(added.emplace(content, id).second, where, " is there twice");
  }
  return added;
}

bool reads_nfc(const json& file) {
  const json normalizer = file.value("normalizer", json());
  if (normalizer.is_null()) return false;
  check_type(normalizer, "normalizer", "NFC");
  return true;
}

void check_byte_level(const json& step, const std::string& where) {
  check_type(step, where, "ByteLevel");
  check_option(step, where, "add_prefix_space", {false});
  check_option(step, where, "use_regex", {false});
}

// Words by kQwenWords, then bytes.
void check_pre_tokenizer(const json& file) {
  const json& top = field(file, "the file", "pre_tokenizer");
  check_type(top, "pre_tokenizer", "Sequence");
  const json& steps = field(top, "pre_tokenizer", "pretokenizers");
  require(steps.is_array() && steps.size() == 2,
          "pre_tokenizer.pretokenizers is no list of two: Split, ByteLevel");
  const std::string where = "pre_tokenizer.pretokenizers[0]";
  check_type(steps[0], where, "Split");
  const json& regex = field(field(steps[0], where, "pattern"), where + ".pattern", "Regex");
  require(regex == kQwenWords, where, ".pattern.Regex is ", shown(regex),
          ", which is not supported (wanted that of Qwen2, ", kQwenWords, ")");
  check_option(steps[0], where, "behavior", {"Isolated"});
  check_option(steps[0], where, "invert", {false});
  check_byte_level(steps[1], "pre_tokenizer.pretokenizers[1]");
}

}  // namespace

BpeFile parse_tokenizer_json(std::string_view text) {
  const json file = parse_strict_json(text, kMaxDepth);
  require(file.is_object(), "is no JSON object");
  check_option(file, "the file", "version", {"1.0"});
  for (const char* option : {"truncation", "padding"}) check_option(file, "the file", option, {nullptr});
  const json& model = field(file, "the file", "model");
  check_model(model);
  check_pre_tokenizer(file);
  if (const json post = file.value("post_processor", json()); !post.is_null())
    check_type(post, "post_processor", "ByteLevel");  // shifts offsets, adds no token
  const StringMap<int32_t> vocab = read_vocab(model);
  return {.bytes = byte_ids(vocab),
          .merges = read_merges(model, vocab),
          .added = read_added(file, vocab),
          .has_nfc = reads_nfc(file)};
}

}  // namespace orrery
