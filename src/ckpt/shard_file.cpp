#include "ckpt/shard_file.h"

#include <fcntl.h>
#include <hdf5.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>

#include "base/error.h"
#include "ckpt/digest.h"
#include "ckpt/fault_point.h"
#include "ckpt/file_io.h"

namespace orrery {
namespace {

namespace fs = std::filesystem;

constexpr int64_t kWriteBytes = int64_t{4} << 20;  // of one call

// Owns one identifier of the library.
class Handle {
 public:
  using Close = herr_t (*)(hid_t);
  Handle(hid_t id, Close close, const fs::path& file, const std::string& what) : id_(id), close_(close) {
    if (id < 0) throw Error(text_of(file.string(), ": HDF5 cannot make ", what), Exit::failure);
  }
  ~Handle() { close_(id_); }
  Handle(const Handle&) = delete;
  Handle& operator=(const Handle&) = delete;
  operator hid_t() const { return id_; }

 private:
  hid_t id_;
  Close close_;
};

hid_t type_of(at::ScalarType dtype) {
  switch (dtype) {
    case at::kDouble:
      return H5T_IEEE_F64LE;
    case at::kFloat:
      return H5T_IEEE_F32LE;
    case at::kLong:
      return H5T_STD_I64LE;
    case at::kInt:
      return H5T_STD_I32LE;
    case at::kBFloat16:
      return H5T_STD_U16LE;
    case at::kByte:
      return H5T_STD_U8LE;
    default:
      fail("checkpoint: cannot store tensors of ", c10::toString(dtype));
  }
}

void attribute(hid_t set, const char* name, hid_t type, const std::vector<hsize_t>& shape, const void* value,
               const fs::path& file) {
  const Handle space(shape.empty() ? H5Screate(H5S_SCALAR) : H5Screate_simple(1, shape.data(), nullptr),
                     H5Sclose, file, name);
  const Handle made(H5Acreate2(set, name, type, space, H5P_DEFAULT, H5P_DEFAULT), H5Aclose, file, name);
  if (H5Awrite(made, type, value) < 0)
    throw Error(text_of(file.string(), ": HDF5 cannot write ", name), Exit::failure);
}

void attributes(hid_t set, const PieceToWrite& piece, const fs::path& file) {
  const std::string dtype(stored_dtype_name(piece.dtype));
  const Handle text(H5Tcopy(H5T_C_S1), H5Tclose, file, "a text type");
  H5Tset_size(text, dtype.size());
  attribute(set, "dtype", text, {}, dtype.data(), file);
  if (!piece.shape.empty())
    attribute(set, "shape", H5T_STD_I64LE, {piece.shape.size()}, piece.shape.data(), file);
  attribute(set, "begin", H5T_STD_I64LE, {}, &piece.begin, file);
}

// Space is set aside at once and never filled, so that the library writes the layout alone. Returns the
// byte offset of the data.
int64_t make_dataset(hid_t h5, const PieceToWrite& piece, const fs::path& file) {
  std::vector<hsize_t> shape(piece.shape.begin(), piece.shape.end());
  if (!shape.empty()) shape[0] = static_cast<hsize_t>(piece.rows);
  const Handle space(shape.empty() ? H5Screate(H5S_SCALAR)
                                   : H5Screate_simple(static_cast<int>(shape.size()), shape.data(), nullptr),
                     H5Sclose, file, piece.name);
  const Handle creation(H5Pcreate(H5P_DATASET_CREATE), H5Pclose, file, piece.name);
  H5Pset_layout(creation, H5D_CONTIGUOUS);
  H5Pset_alloc_time(creation, H5D_ALLOC_TIME_EARLY);
  H5Pset_fill_time(creation, H5D_FILL_TIME_NEVER);
  H5Pset_obj_track_times(creation, false);
  const Handle set(
      H5Dcreate2(h5, piece.name.c_str(), type_of(piece.dtype), space, H5P_DEFAULT, creation, H5P_DEFAULT),
      H5Dclose, file, piece.name);
  attributes(set, piece, file);
  const haddr_t offset = H5Dget_offset(set);
  if (offset == HADDR_UNDEF)
    throw Error(text_of(file.string(), ": HDF5 gave ", piece.name, " no place"), Exit::failure);
  return static_cast<int64_t>(offset);
}

std::vector<int64_t> lay_out(const fs::path& file, const std::vector<PieceToWrite>& pieces) {
  const std::lock_guard lock(hdf5_lock());
  H5Eset_auto2(H5E_DEFAULT, nullptr, nullptr);  // failures are thrown, not printed
  std::vector<int64_t> offsets;
  const Handle access(H5Pcreate(H5P_FILE_ACCESS), H5Pclose, file, "a property list");
  H5Pset_alignment(access, kFromPageBytes, kPageBytes);
#if H5_VERSION_GE(1, 10, 7)
  H5Pset_file_locking(access, false, true);  // some network file systems have no locks
#endif
  const hid_t h5 = H5Fcreate(file.c_str(), H5F_ACC_TRUNC, H5P_DEFAULT, access);
  if (h5 < 0) throw Error(text_of(file.string(), ": cannot be made (disk full, read-only?)"), Exit::failure);
  try {
    for (const PieceToWrite& piece : pieces) offsets.push_back(make_dataset(h5, piece, file));
  } catch (...) {
    H5Fclose(h5);
    throw;
  }
  if (H5Fclose(h5) < 0)
    throw Error(text_of(file.string(), ": HDF5 cannot complete it (disk full?)"), Exit::failure);
  return offsets;
}

ManifestPiece write_piece(OpenFile& file, const PieceToWrite& piece, int64_t offset, int64_t bytes,
                          const std::function<bool(int64_t)>& may_write) {
  ManifestPiece stored{0, offset, piece.begin, piece.rows};
  for (int64_t at = 0; at < bytes; at += kWriteBytes) {
    const std::string_view part(piece.data + at, static_cast<size_t>(std::min(kWriteBytes, bytes - at)));
    if (!may_write(static_cast<int64_t>(part.size()))) throw Error("cancelled", Exit::failure);
    for (size_t b = 0; b < part.size(); b += kDigestBlockBytes)
      stored.digests.push_back(digest_of(part.substr(b, kDigestBlockBytes)));
    fault_point("shard.write");
    file.write_past_cache(part, offset + at);
  }
  return stored;
}

// Digest of the bytes between the tensors, read back from the file.
uint64_t frame_digest(const OpenFile& file, const Manifest& written) {
  std::vector<std::pair<int64_t, int64_t>> data;
  for (const auto& [name, t] : written.tensors)
    for (const ManifestPiece& p : t.pieces) data.emplace_back(p.offset, p.offset + p.rows * t.row_bytes());
  DigestStream digest;
  for_each_gap(std::move(data), file.size(), [&](int64_t begin, int64_t end) {
    file.for_each_part(begin, end, [&](std::string_view part) { digest.add(part); });
  });
  return digest.value();
}

Manifest write_all(const fs::path& path, const std::vector<PieceToWrite>& pieces,
                   const std::function<bool(int64_t)>& may_write) {
  fault_point("shard.create");
  const std::vector<int64_t> offsets = lay_out(path, pieces);
  OpenFile file(path, O_RDWR);
  Manifest written;
  for (size_t i = 0; i < pieces.size(); ++i) {
    ManifestTensor t{pieces[i].dtype, pieces[i].shape};
    const int64_t bytes = pieces[i].rows * t.row_bytes();
    t.pieces.push_back(write_piece(file, pieces[i], offsets[i], bytes, may_write));
    require(written.tensors.emplace(pieces[i].name, std::move(t)).second, path.string(), ": two pieces of ",
            pieces[i].name);
  }
  fault_point("shard.fsync");
  file.sync();
  written.files.push_back({"", file.size(), frame_digest(file, written)});
  return written;
}

}  // namespace

std::mutex& hdf5_lock() {
  static std::mutex lock;
  return lock;
}

Manifest write_shard_file(const fs::path& path, const std::vector<PieceToWrite>& pieces,
                          const std::function<bool(int64_t)>& may_write) {
  const fs::path temporary = path.string() + ".tmp";
  try {
    Manifest written = write_all(temporary, pieces, may_write);
    written.files[0].name = path.filename().string();
    fault_point("shard.rename");
    rename_file(temporary, path);
    fault_point("shard.fsync_folder");
    sync_folder(path.parent_path());
    return written;
  } catch (...) {
    std::error_code ignored;
    fs::remove(temporary, ignored);
    throw;
  }
}

}  // namespace orrery
