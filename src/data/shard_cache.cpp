#include "data/shard_cache.h"

#include <ATen/ops/equal.h>

#include <algorithm>
#include <nlohmann/json.hpp>
#include <optional>

#include "base/error.h"
#include "ckpt/atomic_file.h"
#include "ckpt/checkpoint_reader.h"
#include "ckpt/digest.h"
#include "ckpt/file_io.h"
#include "ckpt/shard_file.h"

namespace orrery {
namespace {

namespace fs = std::filesystem;
using nlohmann::json;

constexpr const char *kFactsFile = "facts.json", *kItemsFile = "items.h5", *kItemsText = "items";
constexpr const char* kFactsText = "facts";  // of a shard: the digest of the facts it was made under
constexpr std::string_view kShardPrefix = "shard_";
constexpr std::string_view kAside = ".damaged";  // after the name of a shard that does not count
constexpr int64_t kFormat = 1;
constexpr int64_t kMaxFactsBytes = 1 << 20;
constexpr size_t kDigits = 8;

std::string padded(int64_t number) {
  const std::string digits = std::to_string(number);
  return std::string(kDigits - std::min(kDigits, digits.size()), '0') + digits;
}
fs::path shard_path(const fs::path& folder, int64_t shard) {
  return folder / (std::string(kShardPrefix) + padded(shard));
}
std::string tensor_name(int64_t number, const std::string& name) {
  return padded(number) + "." + name;
}

// The shard's number; none: a folder of another name.
std::optional<int64_t> shard_number(const fs::path& path) {
  const std::string name = path.filename().string();
  if (!name.starts_with(kShardPrefix)) return std::nullopt;
  const std::string digits = name.substr(kShardPrefix.size());
  if (digits.size() < kDigits || digits.size() > 18 ||
      !std::all_of(digits.begin(), digits.end(), [](unsigned char c) { return std::isdigit(c); }))
    return std::nullopt;
  const int64_t number = std::stoll(digits);
  return padded(number) == digits ? std::optional(number) : std::nullopt;
}

// One past the numbers of all shards, those set aside too: none is used twice, for what reads a cache knows
// its shards by number.
int64_t free_number(const fs::path& folder) {
  int64_t next = 0;
  for (const auto& entry : fs::directory_iterator(folder)) {
    const fs::path& path = entry.path();
    if (const auto number = shard_number(path.extension() == kAside ? path.stem() : path))
      next = std::max(next, *number + 1);
  }
  return next;
}

// Folders of shards, finished or not, by number.
std::vector<std::pair<int64_t, fs::path>> shards_in(const fs::path& folder) {
  std::vector<std::pair<int64_t, fs::path>> found;
  for (const auto& entry : fs::directory_iterator(folder))
    if (const auto number = shard_number(entry.path())) found.emplace_back(*number, entry.path());
  std::sort(found.begin(), found.end());
  return found;
}

bool is_finished(const fs::path& shard) {
  return fs::exists(shard / kManifestName);
}

json facts_body(const CacheFacts& facts) {
  return {{"format", kFormat}, {"facts", facts}};
}
std::string facts_digest(const CacheFacts& facts) {
  return hex_of(digest_of(facts_body(facts).dump()));
}
std::string facts_text(const CacheFacts& facts) {
  return json{{"body", facts_body(facts)}, {"digest", facts_digest(facts)}}.dump(1) + "\n";
}

CacheFacts read_facts(const fs::path& path) {
  const std::string text = read_whole(path, kMaxFactsBytes);
  CacheFacts facts;
  try {
    const json body = json::parse(text).at("body");
    require(body.at("format") == kFormat, path.string(), ": format ", body.at("format").dump(),
            ", this program reads ", kFormat, " (written by a newer program?)");
    facts = body.at("facts").get<CacheFacts>();
  } catch (const json::exception&) {
    throw Error(path.string() + ": not the facts of a cache (damaged or edited?)", Exit::bad_data);
  }
  if (facts_text(facts) != text)
    throw Error(text_of(path.string(), ": does not have its digest (damaged or edited?)"), Exit::bad_data);
  return facts;
}

void require_same(const fs::path& folder, const CacheFacts& stored, const CacheFacts& wanted,
                  const std::vector<std::string>& free) {
  CacheFacts all = stored;
  all.insert(wanted.begin(), wanted.end());
  const auto value = [](const CacheFacts& facts, const std::string& name) {
    const auto found = facts.find(name);
    return found == facts.end() ? std::string("nothing") : found->second;
  };
  std::string differences;
  for (const auto& [name, ignored] : all)
    if (std::find(free.begin(), free.end(), name) == free.end() && value(stored, name) != value(wanted, name))
      differences +=
          text_of("\n  ", name, ": the cache has ", value(stored, name), ", this run ", value(wanted, name));
  require(differences.empty(), folder.string(), ": was encoded with other settings (encode into another ",
          "folder, or remove this one):", differences);
}

// Name and line of each item of a shard.
std::vector<std::pair<std::string, std::string>> items_of(const Manifest& manifest, const fs::path& shard) {
  const auto found = manifest.texts.find(kItemsText);
  try {
    if (found != manifest.texts.end())
      return json::parse(found->second).get<std::vector<std::pair<std::string, std::string>>>();
  } catch (const json::exception&) {
  }
  throw Error(shard.string() + ": a checkpoint's folder, but not a shard of a cache", Exit::bad_data);
}

void require_made_under(const std::string& digest, const Manifest& manifest, const fs::path& shard) {
  const auto found = manifest.texts.find(kFactsText);
  const std::string stored = found == manifest.texts.end() ? "none" : found->second;
  if (stored != digest)
    throw Error(text_of(shard.string(), ": was made under facts of digest ", stored, ", ", kFactsFile,
                        " has ", digest, " (copied from another cache?)"),
                Exit::bad_data);
}

// What `read` gives of a shard; where that is damaged, an Error that says what was wanted and what to do.
template <class Read>
auto with_remedy(const fs::path& shard, const std::string& wanted, const Read& read) {
  try {
    return read();
  } catch (const Error& error) {
    if (error.code() != Exit::bad_data) throw;
    throw Error(
        text_of(
            "the cache's shard ", shard.string(), " is damaged: wanted ", wanted, "; ", error.what(),
            ". To mend it start orrery encode again with --out=", shard.parent_path().parent_path().string(),
            " and the settings it was made with (of embeddings --text=true too): what that run has in "
            "damaged shards is encoded anew"),
        error.code(), error.where());
  }
}

}  // namespace

bool ShardCache::exists(const fs::path& folder) {
  return fs::exists(folder / kFactsFile);
}

void ShardCache::prepare(const fs::path& folder, const CacheFacts& facts) {
  std::error_code error;
  fs::create_directories(folder, error);
  require(!error, folder.string(), ": cannot be made: ", error.message());
  const auto shards = shards_in(folder);
  if (exists(folder)) {
    require_same(folder, read_facts(folder / kFactsFile), facts, {});
  } else {
    for (const auto& [number, path] : shards)
      require(!is_finished(path), path.string(), ": a shard, but the cache has no ", kFactsFile,
              " that says what made it (lost? put it back, or remove ", folder.string(), ")");
    write_whole(folder / kFactsFile, facts_text(facts));
  }
  for (const auto& [number, path] : shards)
    if (!is_finished(path)) fs::remove_all(path);
}

ShardCache::ShardCache(const fs::path& folder) : folder_(folder) {
  require(exists(folder), folder.string(), ": no cache: it has no ", kFactsFile,
          " (orrery encode makes one)");
  facts_ = read_facts(folder / kFactsFile);
  const std::string digest = facts_digest(facts_);
  next_shard_ = free_number(folder);
  for (const auto& [shard, path] : shards_in(folder)) {
    if (!is_finished(path)) continue;
    const Checkpoint stored =
        with_remedy(path, "its list of items", [&path = path] { return Checkpoint(path); });
    int64_t number = 0;
    auto items = items_of(stored.manifest(), path);
    require_made_under(digest, stored.manifest(), path);
    for (auto& [name, about] : items) items_[name] = {shard, number++, name, std::move(about)};
  }
}

std::vector<ShardCache::Damage> ShardCache::find_damage(const fs::path& folder, int64_t rank, int64_t ranks) {
  std::vector<Damage> damaged;
  for (const auto& [number, path] : shards_in(folder)) {
    if (number % ranks != rank || !is_finished(path)) continue;
    try {
      const Checkpoint stored(path);
    } catch (const Error& error) {
      if (error.code() != Exit::bad_data) throw;  // of a newer program, or not to be opened: not damage
      damaged.push_back({path, error.what()});
      continue;
    }
    const std::vector<std::string> problems = verify_checkpoint(path);
    if (!problems.empty()) damaged.push_back({path, problems.front()});
  }
  return damaged;
}

fs::path ShardCache::set_aside(const fs::path& shard) {
  fs::path aside = shard;
  aside += kAside;
  std::error_code error;
  fs::rename(shard, aside, error);
  require(!error, shard.string(), ": cannot be renamed to ", aside.filename().string(), ": ",
          error.message());
  return aside;
}

void ShardCache::require_facts(const CacheFacts& wanted, const std::vector<std::string>& free) const {
  require_same(folder_, facts_, wanted, free);
}

// The manifest is read again each time: it is small beside the rows, and nothing stays open.
at::Tensor ShardCache::rows(const Entry& entry, const std::string& tensor, int64_t begin, int64_t end) const {
  const fs::path shard = shard_path(folder_, entry.shard);
  return with_remedy(shard, text_of("rows ", begin, " to ", end, " of ", tensor, " of ", entry.name),
                     [&] { return Checkpoint(shard).rows(tensor_name(entry.number, tensor), begin, end); });
}

at::Tensor ShardCache::tensor(const Entry& entry, const std::string& tensor) const {
  const fs::path shard = shard_path(folder_, entry.shard);
  return with_remedy(shard, text_of(tensor, " of ", entry.name),
                     [&] { return Checkpoint(shard).tensor(tensor_name(entry.number, tensor)); });
}

void ShardCache::write(const fs::path& folder, int64_t shard, const std::vector<CacheItem>& items) {
  const fs::path path = shard_path(folder, shard);
  const std::string made_under = facts_digest(read_facts(folder / kFactsFile));
  fs::create_directories(path);
  std::vector<PieceToWrite> pieces;
  std::vector<at::Tensor> held;
  json lines = json::array();
  for (size_t i = 0; i < items.size(); ++i) {
    lines.push_back({items[i].name, items[i].about});
    for (const auto& [name, tensor] : items[i].tensors) {
      const at::Tensor& t = held.emplace_back(tensor.contiguous());
      pieces.push_back({tensor_name(static_cast<int64_t>(i), name), t.scalar_type(), t.sizes().vec(), 0,
                        t.size(0), static_cast<const char*>(t.const_data_ptr())});
    }
  }
  Manifest manifest = write_shard_file(path / kItemsFile, pieces, [](int64_t) { return true; });
  manifest.texts = {{kItemsText, lines.dump()}, {kFactsText, made_under}};
  write_whole(path / kManifestName, manifest_text(manifest));
  sync_folder(folder);
}

at::Tensor compact(const at::Tensor& values) {
  const at::Tensor half = values.to(at::kBFloat16);
  return at::equal(half.to(values.scalar_type()), values) ? half : values;
}

}  // namespace orrery
