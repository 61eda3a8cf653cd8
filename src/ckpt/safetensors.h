#pragma once
// Reader and writer of safetensors files (format: github.com/huggingface/safetensors, README, "Format"). The
// reader refuses what the reference implementation refuses: header above 100 MB or beyond the file, not
// UTF-8, not one JSON object, duplicate keys, unknown dtype, missing or extra fields, wrong types, byte
// ranges that overlap, leave a hole, run backwards, do not match shape and dtype or do not end at the end of
// the file, and sizes that overflow.
#include <ATen/core/Tensor.h>

#include <filesystem>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/shard.h"

namespace orrery {

class MappedFile;

struct SafetensorsDtype {
  std::string_view name;                 // as in the file: "F32", "BF16", ...
  int bits;                              // of one element
  std::optional<at::ScalarType> scalar;  // none: a dtype that ATen lacks (F4, F6_*); listed, but not readable
};

struct SafetensorsEntry {
  const SafetensorsDtype* dtype;
  std::vector<int64_t> shape;
  uint64_t begin, end;  // bytes, from the end of the header
};

constexpr uint64_t kMaxSafetensorsHeader = 100'000'000;  // bytes; the reference's MAX_HEADER_SIZE

class Safetensors {
 public:
  explicit Safetensors(const std::filesystem::path& path);  // maps the file and checks the whole header

  const std::filesystem::path& path() const;
  const std::map<std::string, std::string>& metadata() const { return metadata_; }
  const std::map<std::string, SafetensorsEntry>& entries() const { return entries_; }
  bool contains(const std::string& name) const { return entries_.count(name) > 0; }

  // The tensor on the CPU: a view of the mapped file, which it keeps alive, or a copy where the file's layout
  // leaves it unaligned. Do not change it in place: the file stays as it is, but whoever asks for the tensor
  // again may see the change. Error: unknown name, dtype without ATen type, a BOOL that is neither 0 nor 1.
  at::Tensor tensor(const std::string& name) const;
  at::Tensor rows(const std::string& name, RowRange rows) const;  // of dimension 0; of a scalar 0 to 1
  std::map<std::string, at::Tensor> tensors() const;
  std::string_view bytes(
      const std::string& name) const;  // raw little-endian bytes; valid as long as this object
  void release_pages() const;          // as MappedFile

 private:
  const SafetensorsEntry& entry(const std::string& name) const;

  std::shared_ptr<const MappedFile> file_;
  uint64_t data_begin_ = 0;  // of the file
  std::map<std::string, std::string> metadata_;
  std::map<std::string, SafetensorsEntry> entries_;
};

// The safetensors name of a dtype; null: it has none.
const SafetensorsDtype* find_safetensors_dtype(at::ScalarType type);

// Writes tensors that are in memory; errors and layout as SafetensorsWriter (safetensors_writer.h). They may
// lie on any device and have any strides; one at a time is copied to the CPU.
void save_safetensors(const std::filesystem::path& path, const std::map<std::string, at::Tensor>& tensors,
                      const std::map<std::string, std::string>& metadata = {});

}  // namespace orrery
