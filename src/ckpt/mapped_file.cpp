#include "ckpt/mapped_file.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>

#include "base/error.h"

namespace orrery {
namespace {

struct Descriptor {
  int fd;
  ~Descriptor() {
    if (fd >= 0) ::close(fd);
  }
};

}  // namespace

MappedFile::MappedFile(std::filesystem::path path, char* data, size_t size)
    : path_(std::move(path)), data_(data), size_(size) {}

MappedFile::~MappedFile() {
  if (data_ != nullptr) ::munmap(data_, size_);
}

std::shared_ptr<const MappedFile> MappedFile::open(const std::filesystem::path& path) {
  // O_NONBLOCK: opening a FIFO without a writer would wait for ever.
  const Descriptor file{::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK)};
  require(file.fd >= 0, path.string(), ": cannot open: ", std::strerror(errno));
  struct stat status {};
  require(::fstat(file.fd, &status) == 0, path.string(), ": cannot stat: ", std::strerror(errno));
  require(!S_ISDIR(status.st_mode), path.string(), ": is a folder, wanted a file");
  require(S_ISREG(status.st_mode), path.string(), ": is not a regular file (a FIFO, socket or device?)");
  const size_t size = static_cast<size_t>(status.st_size);
  char* data = nullptr;
  if (size > 0) {
    void* const mapped =
        ::mmap(nullptr, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_NORESERVE, file.fd, 0);
    require(mapped != MAP_FAILED, path.string(), ": cannot map ", size, " bytes: ", std::strerror(errno));
    data = static_cast<char*>(mapped);
  }
  return std::shared_ptr<const MappedFile>(new MappedFile(path, data, size));
}

void MappedFile::release_pages() const {
  if (data_ != nullptr) ::madvise(data_, size_, MADV_DONTNEED);  // advice: a refusal changes nothing
}

}  // namespace orrery
