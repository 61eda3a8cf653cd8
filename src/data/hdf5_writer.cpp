#include "data/hdf5_writer.h"

#include <hdf5.h>

#include <span>
#include <type_traits>

#include "base/error.h"

namespace orrery {
namespace {

static_assert(std::is_same_v<hid_t, int64_t>, "Hdf5Writer keeps a hid_t in an int64_t");

// The innermost entry of the library's error stack.
std::string last_words() {
  std::string words = "no reason given";
  const auto visit = [](unsigned, const H5E_error2_t* entry, void* out) -> herr_t {
    if (entry->desc != nullptr) *static_cast<std::string*>(out) = entry->desc;
    return 0;
  };
  H5Ewalk2(H5E_DEFAULT, H5E_WALK_DOWNWARD, visit, &words);
  return words;
}

// Owns one identifier of the library.
class Handle {
 public:
  using Close = herr_t (*)(hid_t);
  Handle(hid_t id, Close close, const std::filesystem::path& file, const std::string& what)
      : id_(id), close_(close) {
    require(id >= 0, file, ": ", what, ": ", last_words());
  }
  ~Handle() { close_(id_); }
  Handle(const Handle&) = delete;
  Handle& operator=(const Handle&) = delete;
  operator hid_t() const { return id_; }

 private:
  hid_t id_;
  Close close_;
};

hid_t type_of(const at::Tensor& values) {
  switch (values.scalar_type()) {
    case at::kDouble:
      return H5T_IEEE_F64LE;
    case at::kFloat:
      return H5T_IEEE_F32LE;
    case at::kLong:
      return H5T_STD_I64LE;
    case at::kByte:
      return H5T_STD_U8LE;
    default:
      fail("HDF5: cannot write ", values.dtype());
  }
}

struct Place {
  const std::filesystem::path& file;
  hid_t id;
};

void write_dataset(const Place& place, const std::string& path, hid_t type, std::span<const hsize_t> shape,
                   const void* values) {
  const Handle space(H5Screate_simple(static_cast<int>(shape.size()), shape.data(), nullptr), H5Sclose,
                     place.file, path);
  const Handle links(H5Pcreate(H5P_LINK_CREATE), H5Pclose, place.file, path);
  const Handle creation(H5Pcreate(H5P_DATASET_CREATE), H5Pclose, place.file, path);
  H5Pset_create_intermediate_group(links, 1);
  H5Pset_obj_track_times(creation, false);
  const Handle set(H5Dcreate2(place.id, path.c_str(), type, space, links, creation, H5P_DEFAULT), H5Dclose,
                   place.file, path);
  require(H5Dwrite(set, type, H5S_ALL, H5S_ALL, H5P_DEFAULT, values) >= 0, place.file, ": ", path, ": ",
          last_words());
}

void write_attribute(const Place& place, const std::string& object, const std::string& name, hid_t type,
                     const void* value) {
  const std::string what = object + " attribute " + name;
  const Handle owner(H5Oopen(place.id, object.c_str(), H5P_DEFAULT), H5Oclose, place.file, what);
  const Handle space(H5Screate(H5S_SCALAR), H5Sclose, place.file, what);
  const Handle attribute(H5Acreate2(owner, name.c_str(), type, space, H5P_DEFAULT, H5P_DEFAULT), H5Aclose,
                         place.file, what);
  require(H5Awrite(attribute, type, value) >= 0, place.file, ": ", what, ": ", last_words());
}

}  // namespace

Hdf5Writer::Hdf5Writer(const std::filesystem::path& path) : path_(path) {
  H5Eset_auto2(H5E_DEFAULT, nullptr, nullptr);  // failures are thrown, not printed
  file_ = H5Fcreate(path.c_str(), H5F_ACC_EXCL, H5P_DEFAULT, H5P_DEFAULT);
  require(file_ >= 0, path, ": cannot be made: ", last_words());
}

Hdf5Writer::~Hdf5Writer() {
  if (file_ >= 0) H5Fclose(file_);
}

void Hdf5Writer::close() {
  if (file_ < 0) return;
  const herr_t status = H5Fclose(std::exchange(file_, -1));
  require(status >= 0, path_, ": cannot be completed: ", last_words(), " (disk full?)");
}

void Hdf5Writer::group(const std::string& path) {
  const Handle links(H5Pcreate(H5P_LINK_CREATE), H5Pclose, path_, path);
  H5Pset_create_intermediate_group(links, 1);
  const Handle made(H5Gcreate2(file_, path.c_str(), links, H5P_DEFAULT, H5P_DEFAULT), H5Gclose, path_, path);
}

void Hdf5Writer::dataset(const std::string& path, const at::Tensor& values) {
  const at::Tensor plain = values.cpu().contiguous();
  const std::vector<hsize_t> shape(plain.sizes().begin(), plain.sizes().end());
  write_dataset({path_, file_}, path, type_of(plain), shape, plain.const_data_ptr());
}

void Hdf5Writer::dataset(const std::string& path, const std::vector<std::string>& texts) {
  size_t width = 1;
  for (const std::string& text : texts) width = std::max(width, text.size());
  std::string bytes;
  for (const std::string& text : texts) bytes += text + std::string(width - text.size(), '\0');
  const Handle type(H5Tcopy(H5T_C_S1), H5Tclose, path_, path);
  H5Tset_size(type, width);
  H5Tset_strpad(type, H5T_STR_NULLPAD);
  const hsize_t count = texts.size();
  write_dataset({path_, file_}, path, type, {&count, 1}, bytes.data());
}

void Hdf5Writer::attribute(const std::string& object, const std::string& name, const std::string& text) {
  const Handle type(H5Tcopy(H5T_C_S1), H5Tclose, path_, name);
  H5Tset_size(type, H5T_VARIABLE);
  H5Tset_cset(type, H5T_CSET_UTF8);
  const char* const value = text.c_str();
  write_attribute({path_, file_}, object, name, type, &value);
}

void Hdf5Writer::attribute(const std::string& object, const std::string& name, int64_t value) {
  write_attribute({path_, file_}, object, name, H5T_STD_I64LE, &value);
}

void Hdf5Writer::attribute(const std::string& object, const std::string& name, double value) {
  write_attribute({path_, file_}, object, name, H5T_IEEE_F64LE, &value);
}

void Hdf5Writer::attribute(const std::string& object, const std::string& name, bool value) {
  const Handle type(H5Tenum_create(H5T_STD_I8LE), H5Tclose, path_, name);
  for (const int8_t item : {int8_t{0}, int8_t{1}}) H5Tenum_insert(type, item ? "TRUE" : "FALSE", &item);
  const auto byte = static_cast<int8_t>(value);
  write_attribute({path_, file_}, object, name, type, &byte);
}

}  // namespace orrery
