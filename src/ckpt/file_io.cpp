#include "ckpt/file_io.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>

#include "base/error.h"
#include "ckpt/digest.h"

namespace orrery {
namespace {

void io_check(bool good, const std::filesystem::path& path, const char* what) {
  if (!good)
    throw Error(text_of(path.string(), ": cannot ", what, ": ", std::strerror(errno)), Exit::failure);
}

}  // namespace

OpenFile::OpenFile(const std::filesystem::path& path, int flags)
    : path_(path), fd_(::open(path.c_str(), flags | O_CLOEXEC | O_NONBLOCK)) {
  io_check(fd_ >= 0, path, "open");
  struct stat status {};
  if (::fstat(fd_, &status) == 0 && S_ISREG(status.st_mode)) return;
  ::close(fd_);
  throw Error(text_of(path.string(), ": not a regular file"), Exit::bad_data);
}

OpenFile::~OpenFile() {
  if (direct_fd_ >= 0) ::close(direct_fd_);
  ::close(fd_);
}

int64_t OpenFile::size() const {
  struct stat status {};
  io_check(::fstat(fd_, &status) == 0, path_, "stat");
  return status.st_size;
}

void OpenFile::write_at(std::string_view bytes, int64_t offset) const {
  while (!bytes.empty()) {
    const ssize_t written = ::pwrite(fd_, bytes.data(), bytes.size(), offset);
    if (written < 0 && errno == EINTR) continue;
    io_check(written > 0, path_, "write");
    bytes.remove_prefix(static_cast<size_t>(written));
    offset += written;
  }
}

bool OpenFile::open_direct() {
  if (can_direct_ && direct_fd_ < 0) {
    direct_fd_ = ::open(path_.c_str(), O_WRONLY | O_DIRECT | O_CLOEXEC);
    can_direct_ = direct_fd_ >= 0;
  }
  return can_direct_;
}

void OpenFile::write_past_cache(std::string_view bytes, int64_t offset) {
  const auto address = reinterpret_cast<uintptr_t>(bytes.data());
  size_t whole_pages = bytes.size() / kPageBytes * kPageBytes;
  if (address % kPageBytes != 0 || offset % kPageBytes != 0) whole_pages = 0;
  while (whole_pages > 0 && open_direct()) {
    const ssize_t written = ::pwrite(direct_fd_, bytes.data(), whole_pages, offset);
    if (written < 0 && errno == EINTR) continue;
    can_direct_ = written > 0 && written % kPageBytes == 0;
    if (written < 0 && errno == EINVAL) break;  // larger pages than ours
    io_check(written > 0, path_, "write");
    bytes.remove_prefix(static_cast<size_t>(written));
    offset += written, whole_pages -= static_cast<size_t>(written);
  }
  write_at(bytes, offset);
}

void OpenFile::read_at(char* to, int64_t bytes, int64_t offset) const {
  while (bytes > 0) {
    const ssize_t got = ::pread(fd_, to, static_cast<size_t>(bytes), offset);
    if (got < 0 && errno == EINTR) continue;
    if (got < 0)  // a bad block: as good as damaged
      throw Error(text_of(path_.string(), ": cannot read byte ", offset, " and on: ", std::strerror(errno)),
                  Exit::bad_data);
    if (got == 0) throw Error(text_of(path_.string(), ": ends before byte ", offset + bytes), Exit::bad_data);
    to += got, offset += got, bytes -= got;
  }
}

void OpenFile::sync() const {
  io_check(::fsync(fd_) == 0, path_, "sync");
}

void OpenFile::for_each_part(int64_t begin, int64_t end,
                             const std::function<void(std::string_view)>& use) const {
  std::vector<char> part(static_cast<size_t>(std::min(kDigestBlockBytes, std::max(end - begin, int64_t{0}))));
  for (int64_t at = begin; at < end; at += kDigestBlockBytes) {
    const int64_t bytes = std::min(kDigestBlockBytes, end - at);
    read_at(part.data(), bytes, at);
    use({part.data(), static_cast<size_t>(bytes)});
  }
}

void for_each_gap(std::vector<std::pair<int64_t, int64_t>> extents, int64_t size,
                  const std::function<void(int64_t begin, int64_t end)>& use) {
  std::sort(extents.begin(), extents.end());
  int64_t next = 0;
  for (const auto& [begin, end] : extents) {
    if (begin > next) use(next, begin);
    next = std::max(next, end);
  }
  if (next < size) use(next, size);
}

std::string read_whole(const std::filesystem::path& path, int64_t most_bytes) {
  const OpenFile file(path, O_RDONLY);
  const int64_t size = file.size();
  require(size <= most_bytes, path.string(), ": ", size, " bytes, wanted at most ", most_bytes);
  std::string text(static_cast<size_t>(size), '\0');
  file.read_at(text.data(), size, 0);
  return text;
}

void rename_file(const std::filesystem::path& from, const std::filesystem::path& to) {
  io_check(::rename(from.c_str(), to.c_str()) == 0, from, "rename into place");
}

void sync_folder(const std::filesystem::path& folder) {
  const int fd = ::open(folder.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  io_check(fd >= 0, folder, "open the folder");
  const bool synced =
      ::fsync(fd) == 0 || errno == EINVAL;  // EINVAL: a file system whose folders cannot be synced
  ::close(fd);
  io_check(synced, folder, "sync the folder");
}

}  // namespace orrery
