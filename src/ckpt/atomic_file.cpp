#include "ckpt/atomic_file.h"

#include <fcntl.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>
#include <cstring>

#include "base/error.h"
#include "ckpt/fault_point.h"
#include "ckpt/file_io.h"

namespace orrery {
namespace {

void io_check(bool good, const std::filesystem::path& path, const char* what) {
  if (!good)
    throw Error(text_of(path.string(), ": cannot ", what, ": ", std::strerror(errno)), Exit::failure);
}

std::filesystem::path folder_of(const std::filesystem::path& path) {
  return path.has_parent_path() ? path.parent_path() : std::filesystem::path(".");
}

}  // namespace

AtomicFile::AtomicFile(std::filesystem::path path) : path_(std::move(path)) {
  require(path_.has_filename(), path_.string(), ": not a file name");
  require(!std::filesystem::is_directory(path_), path_.string(), ": is a folder, wanted a file to write");
  static std::atomic<unsigned> counter{0};
  do {
    temporary_ =
        folder_of(path_) / text_of('.', path_.filename().string(), ".tmp-", ::getpid(), '-', counter++);
    fd_ = ::open(temporary_.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0666);
  } while (fd_ < 0 && errno == EEXIST);
  require(fd_ >= 0, path_.string(), ": cannot create: ", std::strerror(errno));
}

AtomicFile::~AtomicFile() {
  if (fd_ < 0) return;
  ::close(fd_);
  ::unlink(temporary_.c_str());
}

void AtomicFile::write(const void* data, size_t size) {
  const char* next = static_cast<const char*>(data);
  fault_point("file.write");
  while (size > 0) {
    const ssize_t written = ::write(fd_, next, size);
    if (written < 0 && errno == EINTR) continue;
    io_check(written > 0, path_, "write");
    next += written;
    size -= static_cast<size_t>(written);
  }
}

void AtomicFile::overwrite(uint64_t offset, const void* data, size_t size) {
  const char* next = static_cast<const char*>(data);
  while (size > 0) {
    const ssize_t written = ::pwrite(fd_, next, size, static_cast<off_t>(offset));
    if (written < 0 && errno == EINTR) continue;
    io_check(written > 0, path_, "write");
    next += written;
    offset += static_cast<uint64_t>(written);
    size -= static_cast<size_t>(written);
  }
}

void AtomicFile::publish() {
  fault_point("file.fsync");
  io_check(::fsync(fd_) == 0, path_, "sync");
  fault_point("file.rename");
  io_check(::rename(temporary_.c_str(), path_.c_str()) == 0, path_, "rename into place");
  ::close(fd_);
  fd_ = -1;
  fault_point("file.fsync_folder");
  sync_folder(folder_of(path_));
}

void write_whole(const std::filesystem::path& path, std::string_view bytes) {
  AtomicFile file(path);
  file.write(bytes.data(), bytes.size());
  file.publish();
}

}  // namespace orrery
