#pragma once
// ZipArchive: the entries of a zip file in memory, for the readers of PyTorch files. Only stored entries are
// read, which is all that torch.save writes (format: PKWARE's APPNOTE.TXT; zip64 included). CRCs are not
// checked: torch may write zeros or hashes in their place.
#include <map>
#include <string>
#include <string_view>

namespace orrery {

class ZipArchive {
 public:
  // `bytes` is the whole archive and outlives this object. Throws Error for an archive that is cut short or
  // has anything before, between the directory's parts or behind its end; compressed or encrypted entries;
  // duplicate names; and entries that overlap each other or the directory, or lie outside.
  explicit ZipArchive(std::string_view bytes);

  const std::map<std::string, std::string_view>& entries() const { return entries_; }  // name -> contents
  std::string_view entry(const std::string& name) const;                               // Error: no such entry

 private:
  std::map<std::string, std::string_view> entries_;
};

}  // namespace orrery
