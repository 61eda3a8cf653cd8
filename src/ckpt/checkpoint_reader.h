#pragma once
// Checkpoint: reads rows of tensors from a checkpoint folder, whatever layout of ranks wrote it. Used to
// resume, and by all that takes weights from a run.
#include <ATen/core/Tensor.h>

#include <filesystem>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "ckpt/manifest.h"

namespace orrery {

class OpenFile;

class Checkpoint {
 public:
  // Reads the manifest and checks that every file is there with its size. Throws Error (Exit::bad_data) for a
  // damaged or incomplete folder.
  explicit Checkpoint(const std::filesystem::path& folder);
  ~Checkpoint();
  Checkpoint(Checkpoint&&) noexcept;
  Checkpoint& operator=(Checkpoint&&) noexcept;

  const std::filesystem::path& folder() const { return folder_; }
  const Manifest& manifest() const { return manifest_; }
  const std::map<std::string, ManifestTensor>& entries() const { return manifest_.tensors; }
  bool contains(const std::string& name) const { return manifest_.tensors.count(name) > 0; }

  // Rows [begin, end) as (rows, shape[1:]...), or a scalar for [0, 1) of one; on the CPU. Reads the bytes of
  // these rows and at most a digest block more at each end of a piece; all that is read is verified. Throws
  // Error (Exit::bad_data) for bytes that do not have their digest.
  at::Tensor rows(const std::string& name, int64_t begin, int64_t end) const;
  at::Tensor tensor(const std::string& name) const;

  // Bytes read by rows() so far.
  int64_t bytes_read() const { return bytes_read_; }

 private:
  const OpenFile& file(int64_t number) const;
  void read_piece(const std::string& name, const ManifestPiece& piece, int64_t begin, int64_t end,
                  char* to) const;

  std::filesystem::path folder_;
  Manifest manifest_;
  mutable std::vector<std::unique_ptr<OpenFile>> files_;  // opened on first use
  mutable int64_t bytes_read_ = 0;
};

inline constexpr const char* kManifestName = "manifest.json";

// The manifest of a folder; throws as Checkpoint does.
Manifest read_manifest(const std::filesystem::path& folder);

// Reads every byte of a checkpoint. Returns what is wrong, a line each; empty: all digests fit. share: of
// `shares`, the files that this caller reads.
std::vector<std::string> verify_checkpoint(const std::filesystem::path& folder, int share = 0,
                                           int shares = 1);

// An entry for a whole file without tensors, as it lies in the folder.
ManifestFile stored_file(const std::filesystem::path& path);

}  // namespace orrery
