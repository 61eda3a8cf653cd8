#pragma once
// ZipArchive: the entries of a zip file in memory, for the readers of PyTorch files. Only stored entries are
// read, which is all that torch.save writes (format: PKWARE's APPNOTE.TXT; zip64 included).
#include <functional>
#include <map>
#include <string>
#include <string_view>
#include <vector>

namespace orrery {

class ZipArchive {
 public:
  struct Entry {
    std::string_view contents;
    uint32_t crc = 0;  // as stored; 0 where torch was told to compute none
  };

  // `bytes` is the whole archive and outlives this object. Throws Error for an archive that is cut short;
  // compressed or encrypted entries; duplicate names; entries that overlap each other or the directory, or
  // lie outside; and any byte before, between or behind entries, directory and end records that is not part
  // of them (an entry may end in a data descriptor, as torch writes it, which must agree with the directory).
  // Python's zipfile and miniz pass over such bytes, but no writer of archives leaves any.
  explicit ZipArchive(std::string_view bytes);

  const std::map<std::string, Entry>& entries() const { return entries_; }  // by name
  std::string_view entry(const std::string& name) const;                    // contents; Error: no such entry

  // Reads everything; a line for each entry whose contents do not have its CRC. `release` is called after
  // every few MiB, to let their pages go.
  std::vector<std::string> damage(const std::function<void()>& release) const;

 private:
  std::map<std::string, Entry> entries_;
};

}  // namespace orrery
