#pragma once
// The manifest of a checkpoint folder: which rows of which tensor lie where, and digests of every byte.
// Written by the saver, read by Checkpoint (checkpoint_reader.h).
//
// manifest.json is one line of JSON, in the order of the fields below, and ends with the XXH3 digest of all
// its bytes before the field "digest". Format version 1. A file that differs from what manifest_text would
// write for its contents is refused, so spaces, repeated keys and unknown fields are too.
#include <c10/core/ScalarType.h>

#include <cstdint>
#include <map>
#include <string>
#include <string_view>
#include <vector>

namespace orrery {

// Rows [begin, begin + rows) of a tensor: contiguous, little-endian, at a byte offset of a file.
struct ManifestPiece {
  int64_t file = 0;  // place in Manifest::files
  int64_t offset = 0;
  int64_t begin = 0, rows = 0;
  std::vector<uint64_t> digests = {};  // of each block of kDigestBlockBytes
};

struct ManifestTensor {
  at::ScalarType dtype = at::kFloat;
  std::vector<int64_t> shape = {};
  std::vector<ManifestPiece> pieces = {};                        // by begin
  int64_t rows() const { return shape.empty() ? 1 : shape[0]; }  // a scalar is one row
  int64_t row_bytes() const;
  int64_t bytes() const { return rows() * row_bytes(); }
};

struct ManifestFile {
  std::string name;  // in the folder
  int64_t bytes = 0;
  uint64_t frame = 0;  // digest of all its bytes that belong to no tensor
};

struct Manifest {
  int64_t step = 0;                // optimizer steps done
  int64_t seed = 0;                // train.seed
  std::vector<int64_t> mesh = {};  // replicate, shard, context of the run that wrote it
  std::vector<ManifestFile> files = {};
  std::map<std::string, ManifestTensor> tensors = {};
  std::map<std::string, std::string> texts = {};  // "config": the settings as INI
};

// Whether pieces must cover every row exactly once (a checkpoint), or at most once (one rank's part of it).
enum class Coverage { whole, part };

std::string manifest_text(const Manifest& manifest);

// Throws Error (Exit::bad_data) that names `where` and what is wrong: not our text, digest, file names with
// folders in them, sizes that overflow, pieces outside their file, overlapping, missing.
Manifest parse_manifest(std::string_view text, const std::string& where, Coverage coverage);

// Adds a part's files and pieces. Throws Error (Exit::bad_data) where tensors do not agree.
void merge_manifest(Manifest& into, const Manifest& part, const std::string& where);
void require_sound(const Manifest& manifest, const std::string& where, Coverage coverage);

std::string_view stored_dtype_name(at::ScalarType dtype);  // "F32"; Error for one that is not stored

}  // namespace orrery
