#pragma once
// ZipWriter: a zip of stored entries, whose contents may come in parts, for the writer of PyTorch files.
// Contents begin at multiples of 64 bytes, as torch.save aligns them; zip64 records appear where an entry or
// the archive needs them.
#include <filesystem>
#include <string>
#include <string_view>
#include <vector>

#include "ckpt/atomic_file.h"

namespace orrery {

class ZipWriter {
 public:
  explicit ZipWriter(std::filesystem::path path);  // errors as AtomicFile

  void begin(const std::string& name, uint64_t size);  // an entry; exactly so many bytes must follow
  void append(std::string_view part);
  void add(const std::string& name, std::string_view contents);
  void publish();  // once, last: the directory, and then the file appears under its name

 private:
  struct Entry {
    std::string name;
    uint32_t crc;
    uint64_t size, offset;
  };
  void write(std::string_view bytes);
  void write_central(const Entry& entry);
  void write_end(uint64_t directory_begin);

  AtomicFile file_;
  uint64_t at_ = 0, left_ = 0;  // left: bytes that the last entry still wants
  std::vector<Entry> entries_;
};

}  // namespace orrery
