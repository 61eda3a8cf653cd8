#pragma once
// A file that appears under its name complete or not at all: bytes go to a temporary file in the same folder,
// and publish() syncs it, renames it and syncs the folder. Without publish() the temporary file is removed.
#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <string_view>

namespace orrery {

class AtomicFile {
 public:
  explicit AtomicFile(std::filesystem::path path);  // throws Error if the folder is missing or read-only
  ~AtomicFile();
  AtomicFile(const AtomicFile&) = delete;
  AtomicFile& operator=(const AtomicFile&) = delete;

  void write(const void* data,
             size_t size);  // appends; throws Error (disk full, I/O error) with Exit::failure
  void overwrite(uint64_t offset, const void* data, size_t size);  // of what was written; errors as write
  void publish();                                                  // once, last

 private:
  std::filesystem::path path_, temporary_;
  int fd_ = -1;
};

// The whole of a small file.
void write_whole(const std::filesystem::path& path, std::string_view bytes);

}  // namespace orrery
