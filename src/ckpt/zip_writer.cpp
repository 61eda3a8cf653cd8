#include "ckpt/zip_writer.h"

#include <cassert>
#include <cstddef>

#include "base/error.h"
#include "ckpt/crc32.h"
#include "ckpt/zip_format.h"

namespace orrery {
namespace {

using namespace zip;

constexpr uint64_t kAlignment = 64;
constexpr uint16_t kVersion = 20, kVersion64 = 45;  // of the format: what a reader must know
constexpr uint16_t kDate = 33;                      // 1980-01-01: files of equal contents are equal
constexpr uint16_t kPadding = 0x4246;               // "FB", the extra field that torch pads with

template <class T>
std::string_view bytes_of(const T& record) {
  return {reinterpret_cast<const char*>(&record), sizeof record};
}

uint32_t narrow32(uint64_t value) {
  return static_cast<uint32_t>(std::min<uint64_t>(value, kSee64));
}

std::string extra_field(uint16_t id, std::string_view contents) {
  const uint16_t size = static_cast<uint16_t>(contents.size());
  return std::string(bytes_of(id)) + std::string(bytes_of(size)) + std::string(contents);
}

}  // namespace

ZipWriter::ZipWriter(std::filesystem::path path) : file_(std::move(path)) {}

void ZipWriter::write(std::string_view bytes) {
  file_.write(bytes.data(), bytes.size());
  at_ += bytes.size();
}

void ZipWriter::begin(const std::string& name, uint64_t size) {
  assert(left_ == 0);
  require(name.size() < kSee64Count / 2, "zip: a name of ", name.size(), " characters");
  const Entry entry{name, 0, size, at_};
  const bool large = entry.size >= kSee64;
  std::string extra;
  if (large)
    extra = extra_field(kExtra64, std::string(bytes_of(entry.size)) + std::string(bytes_of(entry.size)));
  const uint64_t behind =
      at_ + sizeof(LocalHeader) + name.size() + extra.size() + 4;  // 4: id and size of the padding
  extra += extra_field(kPadding, std::string((kAlignment - behind % kAlignment) % kAlignment, 'Z'));
  LocalHeader header;
  header.version = large ? kVersion64 : kVersion;
  header.flags = kUtf8;
  header.date = kDate;
  header.size = header.packed_size = narrow32(entry.size);
  header.name_size = static_cast<uint16_t>(name.size());
  header.extra_size = static_cast<uint16_t>(extra.size());
  write(bytes_of(header));
  write(name);
  write(extra);
  left_ = size;
  entries_.push_back(entry);
}

// The CRC stands in front of the contents, where it is put when they are complete.
void ZipWriter::append(std::string_view part) {
  assert(part.size() <= left_);
  Entry& entry = entries_.back();
  entry.crc = crc32(part, entry.crc);
  write(part);
  left_ -= part.size();
  if (left_ == 0) file_.overwrite(entry.offset + offsetof(LocalHeader, crc), &entry.crc, sizeof entry.crc);
}

void ZipWriter::add(const std::string& name, std::string_view contents) {
  begin(name, contents.size());
  append(contents);
}

void ZipWriter::write_central(const Entry& entry) {
  std::string values;
  if (entry.size >= kSee64) values += std::string(bytes_of(entry.size)) + std::string(bytes_of(entry.size));
  if (entry.offset >= kSee64) values += bytes_of(entry.offset);
  const std::string extra = values.empty() ? "" : extra_field(kExtra64, values);
  CentralHeader header;
  header.made_by = header.version = values.empty() ? kVersion : kVersion64;
  header.flags = kUtf8;
  header.date = kDate;
  header.crc = entry.crc;
  header.size = header.packed_size = narrow32(entry.size);
  header.name_size = static_cast<uint16_t>(entry.name.size());
  header.extra_size = static_cast<uint16_t>(extra.size());
  header.offset = narrow32(entry.offset);
  write(bytes_of(header));
  write(entry.name);
  write(extra);
}

// The zip64 records stand there always, as in torch's files.
void ZipWriter::write_end(uint64_t directory_begin) {
  EndRecord64 end64;
  end64.made_by = end64.version = kVersion64;
  end64.entries = end64.entries_here = entries_.size();
  end64.offset = directory_begin;
  end64.size = at_ - directory_begin;
  Locator64 locator;
  locator.offset = at_;
  EndRecord end;
  end.entries = end.entries_here = static_cast<uint16_t>(std::min<size_t>(entries_.size(), kSee64Count));
  end.offset = narrow32(directory_begin);
  end.size = narrow32(end64.size);
  write(bytes_of(end64));
  write(bytes_of(locator));
  write(bytes_of(end));
}

void ZipWriter::publish() {
  assert(left_ == 0);
  const uint64_t directory_begin = at_;
  for (const Entry& entry : entries_) write_central(entry);
  write_end(directory_begin);
  file_.publish();
}

}  // namespace orrery
