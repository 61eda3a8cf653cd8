#pragma once
// The few file calls of the checkpoint writers and readers, with errors that name the file. I/O errors are
// Error with Exit::failure.
#include <cstdint>
#include <filesystem>
#include <functional>
#include <string_view>
#include <utility>
#include <vector>

namespace orrery {

class OpenFile {
 public:
  OpenFile(const std::filesystem::path& path, int flags);  // flags of open(2); a regular file that exists
  ~OpenFile();
  OpenFile(const OpenFile&) = delete;
  OpenFile& operator=(const OpenFile&) = delete;

  int64_t size() const;
  void write_at(std::string_view bytes, int64_t offset) const;
  void read_at(char* to, int64_t bytes, int64_t offset) const;  // all of them, or Error (Exit::bad_data)
  void sync() const;
  // Bytes [begin, end) in order, in parts of up to kDigestBlockBytes that begin at begin.
  void for_each_part(int64_t begin, int64_t end, const std::function<void(std::string_view)>& use) const;

 private:
  std::filesystem::path path_;
  int fd_;
};

// The ranges of [0, size) that no extent [begin, end) covers, in order. Extents do not overlap.
void for_each_gap(std::vector<std::pair<int64_t, int64_t>> extents, int64_t size,
                  const std::function<void(int64_t begin, int64_t end)>& use);

std::string read_whole(const std::filesystem::path& path, int64_t most_bytes);
void rename_file(const std::filesystem::path& from, const std::filesystem::path& to);
void sync_folder(const std::filesystem::path& folder);

}  // namespace orrery
