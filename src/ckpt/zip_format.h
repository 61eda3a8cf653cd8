#pragma once
// Records of the zip format as they lie in the file (APPNOTE.TXT 4.3.7 to 4.3.16), little-endian and packed,
// for ZipArchive and ZipWriter.
#include <bit>
#include <cstdint>

namespace orrery::zip {

static_assert(std::endian::native == std::endian::little, "zip records are little-endian");

constexpr uint32_t kLocalSignature = 0x04034b50, kCentralSignature = 0x02014b50, kEndSignature = 0x06054b50,
                   kEnd64Signature = 0x06064b50, kLocatorSignature = 0x07064b50;
constexpr uint32_t kSee64 = 0xffffffff;  // the value stands in the zip64 records
constexpr uint16_t kSee64Count = 0xffff, kExtra64 = 1;
constexpr uint16_t kEncrypted = 1, kDescriptor = 8, kUtf8 = 0x800;  // flags

struct [[gnu::packed]] LocalHeader {
  uint32_t signature = kLocalSignature;
  uint16_t version = 0, flags = 0, method = 0, time = 0, date = 0;
  uint32_t crc = 0, packed_size = 0, size = 0;
  uint16_t name_size = 0, extra_size = 0;
};

struct [[gnu::packed]] CentralHeader {
  uint32_t signature = kCentralSignature;
  uint16_t made_by = 0, version = 0, flags = 0, method = 0, time = 0, date = 0;
  uint32_t crc = 0, packed_size = 0, size = 0;
  uint16_t name_size = 0, extra_size = 0, comment_size = 0, disk = 0, internal = 0;
  uint32_t external = 0, offset = 0;
};

struct [[gnu::packed]] EndRecord {
  uint32_t signature = kEndSignature;
  uint16_t disk = 0, directory_disk = 0, entries_here = 0, entries = 0;
  uint32_t size = 0, offset = 0;
  uint16_t comment_size = 0;
};

struct [[gnu::packed]] EndRecord64 {
  uint32_t signature = kEnd64Signature;
  uint64_t rest = 44;  // bytes of the record after this field
  uint16_t made_by = 0, version = 0;
  uint32_t disk = 0, directory_disk = 0;
  uint64_t entries_here = 0, entries = 0, size = 0, offset = 0;
};

struct [[gnu::packed]] Locator64 {
  uint32_t signature = kLocatorSignature, disk = 0;
  uint64_t offset = 0;
  uint32_t disks = 1;
};

static_assert(sizeof(LocalHeader) == 30 && sizeof(CentralHeader) == 46 && sizeof(EndRecord) == 22 &&
              sizeof(EndRecord64) == 56 && sizeof(Locator64) == 20);

}  // namespace orrery::zip
