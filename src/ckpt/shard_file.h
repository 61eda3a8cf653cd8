#pragma once
// One rank's part of a checkpoint: an HDF5 file with a contiguous dataset for each piece of a tensor.
// Written by the saver's thread.
//
// Each dataset stands at the root under the tensor's name and has the attributes "dtype" ("BF16" data are
// unsigned 16-bit words), "shape" (of the whole tensor) and "begin" (its first row there), so that h5py reads
// the file too. The HDF5 library lays the file out; the data are then written straight to their places, and
// read from there: serial HDF5 is called by one thread at a time (hdf5_lock), and only for the layout.
#include <filesystem>
#include <functional>
#include <mutex>
#include <string>
#include <vector>

#include "ckpt/manifest.h"

namespace orrery {

// Datasets from this size on begin on a page of the file, and are written past the page cache if their data
// in memory begin on one too (OpenFile::write_past_cache).
inline constexpr int64_t kFromPageBytes = 1 << 16;

struct PieceToWrite {
  std::string name;
  at::ScalarType dtype;
  std::vector<int64_t> shape;  // of the whole tensor
  int64_t begin, rows;         // rows > 0
  const char* data;            // contiguous
};

// Writes path, whole and synced, through a temporary file beside it. Returns its file and pieces (part of a
// manifest; step and texts are left empty). may_write is asked before each few MiB of data: it may wait, to
// keep a pace, and false cancels. Throws Error (Exit::failure) for a full disk, an I/O error or when
// cancelled; then no file remains.
Manifest write_shard_file(const std::filesystem::path& path, const std::vector<PieceToWrite>& pieces,
                          const std::function<bool(int64_t bytes)>& may_write);

// The library keeps global state: hold this while calling it.
std::mutex& hdf5_lock();

}  // namespace orrery
