#pragma once
// ShardCache: a folder that an encoder fills, shard by shard, and training reads: named items, each with a
// few tensors and a line about it. Latents of films (film_latents.h) and embeddings of prompts lie in such
// folders.
//
//   DIR/facts.json        what made the items
//   DIR/shard_00000000/   a folder in the format of checkpoints (docs/checkpoints.md): items.h5, and
//                         manifest.json, which is written last: without it there is no shard;
//                         it has the digest of the facts, so that a shard of another cache is refused
//
// Of items of the same name the one in the shard of the largest number counts: what was encoded anew.
#include <ATen/core/Tensor.h>

#include <filesystem>
#include <map>
#include <string>
#include <vector>

namespace orrery {

// Everything that the items depend on besides what they were made from: name -> value.
using CacheFacts = std::map<std::string, std::string>;

struct CacheItem {
  std::string name, about;                    // UTF-8
  std::map<std::string, at::Tensor> tensors;  // on the CPU, not scalars, not empty
};

class ShardCache {
 public:
  // A folder that is there. Throws Error that names the file: bad_data for a damaged one.
  explicit ShardCache(const std::filesystem::path& folder);
  static bool exists(const std::filesystem::path& folder);

  // Makes the folder ready to be written to by the ranks of one job: a new one gets these facts, of one that
  // is there they must be the same, and what a killed job left of unfinished shards is removed. One rank.
  // Throws Error if they are not, or if shards are there without facts.
  static void prepare(const std::filesystem::path& folder, const CacheFacts& facts);

  // Reads every byte of this rank's share of the shards. Those that are not what was written, and why.
  struct Damage {
    std::filesystem::path shard;
    std::string reason;
  };
  static std::vector<Damage> find_damage(const std::filesystem::path& folder, int64_t rank, int64_t ranks);
  // Renames it to what is returned: it counts no more, and what it held lacks in the cache. Nothing is
  // deleted: other runs may have items there.
  static std::filesystem::path set_aside(const std::filesystem::path& shard);

  const std::filesystem::path& folder() const { return folder_; }
  const CacheFacts& facts() const { return facts_; }
  // Throws Error with the name and both values of each fact that differs, but for those that are free to.
  void require_facts(const CacheFacts& wanted, const std::vector<std::string>& free = {}) const;

  struct Entry {
    int64_t shard = 0, number = 0;  // place in its shard
    std::string name, about;
  };
  const std::map<std::string, Entry>& items() const { return items_; }
  int64_t next_shard() const { return next_shard_; }

  // Rows [begin, end) of a tensor of the item, verified. May be called by several threads. Throws Error
  // (bad_data) for bytes that do not have their digest, with shard, item and what was wanted of it; bad_input
  // for a tensor that is not there.
  at::Tensor rows(const Entry& entry, const std::string& tensor, int64_t begin, int64_t end) const;
  at::Tensor tensor(const Entry& entry, const std::string& tensor) const;

  // A shard of a folder that was prepared, whole and synced before it counts. The same items, under the same
  // facts, give the same bytes.
  static void write(const std::filesystem::path& folder, int64_t shard, const std::vector<CacheItem>& items);

 private:
  std::filesystem::path folder_;
  CacheFacts facts_;
  std::map<std::string, Entry> items_;
  int64_t next_shard_ = 0;
};

// The values as bfloat16 if that holds them exactly, else as they are: what is stored comes back to the bit.
at::Tensor compact(const at::Tensor& values);

}  // namespace orrery
