#pragma once
// The few file calls of the checkpoint writers and readers, with errors that name the file. Errors of writing
// are Error with Exit::failure.
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
  // The same past the page cache (O_DIRECT) for what begins on a page, in memory and in the file, where the
  // file system can: a large save then neither evicts what the host had cached nor costs a copy.
  void write_past_cache(std::string_view bytes, int64_t offset);
  void read_at(char* to, int64_t bytes, int64_t offset) const;  // all of them, or Error (Exit::bad_data)
  void sync() const;
  // Bytes [begin, end) in order, in parts of up to kDigestBlockBytes that begin at begin.
  void for_each_part(int64_t begin, int64_t end, const std::function<void(std::string_view)>& use) const;

 private:
  bool open_direct();

  std::filesystem::path path_;
  int fd_;
  int direct_fd_ = -1;
  bool can_direct_ = true;  // until the file system says no
};

inline constexpr int64_t kPageBytes = 4096;  // alignment of write_past_cache

// The ranges of [0, size) that no extent [begin, end) covers, in order. Extents do not overlap.
void for_each_gap(std::vector<std::pair<int64_t, int64_t>> extents, int64_t size,
                  const std::function<void(int64_t begin, int64_t end)>& use);

std::string read_whole(const std::filesystem::path& path, int64_t most_bytes);
void rename_file(const std::filesystem::path& from, const std::filesystem::path& to);
void sync_folder(const std::filesystem::path& folder);

}  // namespace orrery
