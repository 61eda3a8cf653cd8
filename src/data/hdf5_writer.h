#pragma once
// Writes HDF5 files: groups, datasets and attributes as h5py writes and reads them. The same calls give the
// same bytes. Serial library: one thread at a time in the whole program.
#include <ATen/core/Tensor.h>

#include <filesystem>
#include <string>
#include <vector>

namespace orrery {

// Paths are absolute inside the file ("/data/demo_0/actions"); missing groups on the way are made. Every
// failure throws Error with the file, the object and the library's own words.
class Hdf5Writer {
 public:
  explicit Hdf5Writer(const std::filesystem::path& path);  // a new file; fails if there is one
  ~Hdf5Writer();
  Hdf5Writer(const Hdf5Writer&) = delete;
  Hdf5Writer& operator=(const Hdf5Writer&) = delete;

  void group(const std::string& path);
  void dataset(const std::string& path, const at::Tensor& values);  // float64, float32, int64 or uint8
  void dataset(const std::string& path,
               const std::vector<std::string>& texts);  // fixed-width bytes, null padded

  void attribute(const std::string& object, const std::string& name, const std::string& text);  // UTF-8
  void attribute(const std::string& object, const std::string& name, int64_t value);
  void attribute(const std::string& object, const std::string& name, double value);
  void attribute(const std::string& object, const std::string& name, bool value);  // h5py's enumeration
  void attribute(const std::string& object, const std::string& name,
                 const char* text) = delete;  // is no bool

  void close();  // writes everything out; only after it is the file complete

 private:
  std::filesystem::path path_;
  int64_t file_ = -1;  // hid_t
};

}  // namespace orrery
