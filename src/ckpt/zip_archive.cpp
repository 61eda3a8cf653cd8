#include "ckpt/zip_archive.h"

#include <algorithm>
#include <cstring>
#include <vector>

#include "base/error.h"
#include "base/printable.h"
#include "ckpt/crc32.h"
#include "ckpt/zip_format.h"

namespace orrery {
namespace {

using namespace zip;

// A record at this place. T's signature is its default value. Error: beyond the end, another signature.
template <class T>
T record(std::string_view bytes, uint64_t offset, const char* what) {
  require(offset <= bytes.size() && bytes.size() - offset >= sizeof(T), "zip: ", what, " at byte ", offset,
          " lies beyond the end (", bytes.size(), " bytes: cut short?)");
  T out;
  std::memcpy(&out, bytes.data() + offset, sizeof out);
  const uint32_t got = out.signature, wanted = T{}.signature;
  require(got == wanted, "zip: no ", what, " at byte ", offset);
  return out;
}

struct Directory {
  uint64_t entries, size, offset;
};

// torch writes no comment, so that the end record stands at the very end.
Directory find_directory(std::string_view bytes) {
  require(bytes.size() >= sizeof(EndRecord), "zip: ", bytes.size(), " bytes are too few");
  const uint64_t end_at = bytes.size() - sizeof(EndRecord);
  const auto end = record<EndRecord>(bytes, end_at, "end of the central directory");
  const uint16_t disks = end.disk | end.directory_disk, comment = end.comment_size;
  require(disks == 0 || disks == kSee64Count, "zip: is one of several parts");
  require(comment == 0, "zip: the end record announces a comment that is not there");
  Directory found{end.entries, end.size, end.offset};
  uint64_t directory_end = end_at;
  if (end_at >= sizeof(Locator64) && bytes.substr(end_at - sizeof(Locator64), 4) == "PK\6\7") {
    const auto locator = record<Locator64>(bytes, end_at - sizeof(Locator64), "zip64 locator");
    const auto end64 = record<EndRecord64>(bytes, locator.offset, "zip64 end record");
    directory_end = locator.offset;
    require(directory_end + sizeof(EndRecord64) + sizeof(Locator64) == end_at,
            "zip: the zip64 end record does not stand before its locator");
    found = {end64.entries, end64.size, end64.offset};
  }
  require(found.offset <= directory_end && found.size == directory_end - found.offset,
          "zip: the central directory (byte ", found.offset, ", ", found.size,
          " bytes) does not end where the end record begins, at byte ", directory_end);
  require(found.entries <= found.size / sizeof(CentralHeader), "zip: ", found.entries,
          " entries do not fit a directory of ", found.size, " bytes");
  return found;
}

struct Header {
  std::string name;
  uint64_t size, packed_size, header;  // header: offset of the local one
  uint32_t crc;
};

// The 64-bit values of a central header whose 32-bit fields say kSee64, in their fixed order.
void read_extra64(Header& entry, std::string_view extra) {
  while (extra.size() >= 4) {
    uint16_t id = 0, size = 0;
    std::memcpy(&id, extra.data(), 2);
    std::memcpy(&size, extra.data() + 2, 2);
    require(size <= extra.size() - 4, "zip: entry ", printable(entry.name), ": an extra field is cut short");
    std::string_view field = extra.substr(4, size);
    extra.remove_prefix(4 + static_cast<size_t>(size));
    if (id != kExtra64) continue;
    for (uint64_t* value : {&entry.size, &entry.packed_size, &entry.header}) {
      if (*value != kSee64) continue;
      require(field.size() >= 8, "zip: entry ", printable(entry.name), ": the zip64 field is too short");
      std::memcpy(value, field.data(), 8);
      field.remove_prefix(8);
    }
    return;
  }
}

// Reads the central header at `offset` and moves behind it.
Header next_entry(std::string_view directory, uint64_t& offset) {
  const auto header = record<CentralHeader>(directory, offset, "entry of the central directory");
  const uint64_t name_at = offset + sizeof header, extra_at = name_at + header.name_size;
  offset = extra_at + header.extra_size + header.comment_size;
  require(offset <= directory.size(), "zip: an entry of the central directory is cut short");
  Header entry{std::string(directory.substr(name_at, header.name_size)), header.size, header.packed_size,
               header.offset, header.crc};
  const uint16_t method = header.method, flags = header.flags;
  require(method == 0, "zip: entry ", printable(entry.name), " is compressed (method ", method,
          "); torch.save does not compress");
  require((flags & kEncrypted) == 0, "zip: entry ", printable(entry.name), " is encrypted");
  read_extra64(entry, directory.substr(extra_at, header.extra_size));
  require(entry.size == entry.packed_size, "zip: entry ", printable(entry.name), ": ", entry.packed_size,
          " bytes stored for ", entry.size);
  return entry;
}

// An entry with its local header, which must agree on the name.
struct Extent {
  Header entry;
  uint64_t contents, end;  // where the contents begin and end
  bool may_have_descriptor;
};
Extent extent_of(std::string_view before_directory, const Header& entry) {
  const auto header = record<LocalHeader>(before_directory, entry.header, "local header");
  const uint64_t name_at = entry.header + sizeof header;
  const uint64_t begin = name_at + header.name_size + header.extra_size;
  const bool inside = begin <= before_directory.size() && entry.size <= before_directory.size() - begin;
  require(inside, "zip: entry ", printable(entry.name), " of ", entry.size,
          " bytes reaches beyond the archive of ", before_directory.size());
  require(before_directory.substr(name_at, header.name_size) == entry.name, "zip: entry ",
          printable(entry.name), " has another name in its local header");
  return {entry, begin, begin + entry.size, (header.flags & kDescriptor) != 0};
}

// CRC and sizes of an entry behind its contents, with or without signature, the sizes of 32 or 64 bits
// (APPNOTE.TXT 4.3.9).
bool is_descriptor(std::string_view bytes, const Header& entry) {
  if (bytes.size() == 16 || bytes.size() == 24) {
    if (!bytes.starts_with("PK\7\10")) return false;
    bytes.remove_prefix(4);
  }
  if (bytes.size() != 12 && bytes.size() != 20) return false;
  const size_t width = bytes.size() == 12 ? 4 : 8;
  uint32_t crc = 0;
  uint64_t packed_size = 0, size = 0;
  std::memcpy(&crc, bytes.data(), 4);
  std::memcpy(&packed_size, bytes.data() + 4, width);
  std::memcpy(&size, bytes.data() + 4 + width, width);
  return crc == entry.crc && packed_size == entry.packed_size && size == entry.size;
}

// The entries lie one behind the other from the first byte to the directory.
void check_order(std::string_view before_directory, std::vector<Extent> extents) {
  std::sort(extents.begin(), extents.end(),
            [](const Extent& a, const Extent& b) { return a.entry.header < b.entry.header; });
  for (size_t i = 0; i <= extents.size(); ++i) {
    const bool is_last = i == extents.size();
    const Extent* const before = i == 0 ? nullptr : &extents[i - 1];
    const uint64_t end = before ? before->end : 0,
                   begin = is_last ? before_directory.size() : extents[i].entry.header;
    const std::string next = is_last ? "the central directory" : "entry " + printable(extents[i].entry.name);
    require(end <= begin, "zip: ", next, " overlaps the entry before it");
    const bool good =
        end == begin || (before && before->may_have_descriptor &&
                         is_descriptor(before_directory.substr(end, begin - end), before->entry));
    require(good, "zip: ", begin - end, " bytes before ", next, " belong to nothing");
  }
}

}  // namespace

ZipArchive::ZipArchive(std::string_view bytes) {
  const Directory found = find_directory(bytes);
  const std::string_view directory = bytes.substr(found.offset, found.size);
  const std::string_view contents = bytes.substr(0, found.offset);
  std::vector<Extent> extents;
  uint64_t at = 0;
  for (uint64_t i = 0; i < found.entries; ++i) {
    extents.push_back(extent_of(contents, next_entry(directory, at)));
    const Extent& extent = extents.back();
    const auto stored = contents.substr(extent.contents, extent.end - extent.contents);
    require(entries_.emplace(extent.entry.name, Entry{stored, extent.entry.crc}).second,
            "zip: two entries are named ", printable(extent.entry.name));
  }
  require(at == directory.size(), "zip: ", directory.size() - at,
          " bytes of the directory belong to no entry");
  check_order(contents, std::move(extents));
}

std::vector<std::string> ZipArchive::damage(const std::function<void()>& release) const {
  constexpr size_t kPart = size_t{8} << 20;
  std::vector<std::string> found;
  for (const auto& [name, entry] : entries_) {
    if (entry.crc == 0) continue;
    uint32_t crc = 0;
    for (size_t at = 0; at < entry.contents.size(); at += kPart) {
      const std::string_view part = entry.contents.substr(at, kPart);
      crc = crc32(part, crc);
      if (part.size() == kPart) release();
    }
    if (crc != entry.crc)
      found.push_back("zip: the contents of entry " + printable(name) + " do not have their CRC-32");
  }
  return found;
}

std::string_view ZipArchive::entry(const std::string& name) const {
  const auto found = entries_.find(name);
  require(found != entries_.end(), "zip: no entry ", printable(name));
  return found->second.contents;
}

}  // namespace orrery
