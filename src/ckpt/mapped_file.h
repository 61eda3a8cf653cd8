#pragma once
// A whole file mapped for reading, for the checkpoint readers. Writes through data() stay private to this
// process (copy on write), so an in-place operation on a tensor view cannot reach the file. Trap: a file that
// another program shortens while it is mapped ends this process with SIGBUS. Our own writers replace files by
// rename and never shorten one.
#include <cstddef>
#include <filesystem>
#include <memory>

namespace orrery {

class MappedFile {
 public:
  // Throws Error for anything but a readable regular file (folders, FIFOs and devices are refused without
  // blocking).
  static std::shared_ptr<const MappedFile> open(const std::filesystem::path& path);
  ~MappedFile();
  MappedFile(const MappedFile&) = delete;
  MappedFile& operator=(const MappedFile&) = delete;

  char* data() const { return data_; }  // null for an empty file
  size_t size() const { return size_; }
  const std::filesystem::path& path() const { return path_; }

  // Hands the pages in memory back to the kernel: they count no longer as this process's and are read from
  // the file again when touched. What was written through data() is lost.
  void release_pages() const;

 private:
  MappedFile(std::filesystem::path path, char* data, size_t size);
  std::filesystem::path path_;
  char* data_;
  size_t size_;
};

}  // namespace orrery
