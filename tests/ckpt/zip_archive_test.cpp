// The zip reader: archives of stored entries, zip64, and every kind of disagreement between the records.
#include "ckpt/zip_archive.h"

#include <gmock/gmock.h>

#include "base/error.h"
#include "ckpt/zip_format.h"
#include "ckpt/zip_writer.h"
#include "fixtures.h"

namespace orrery {
namespace {

using testing::HasSubstr;

std::string two_entries() {
  const test::ScratchFolder folder;
  ZipWriter writer(folder / "two.zip");
  writer.add("a/one", "first");
  writer.add("a/two", "");
  writer.publish();
  return test::read_file(folder / "two.zip");
}

std::string refusal(std::string_view bytes) {
  try {
    const ZipArchive archive(bytes);
  } catch (const Error& error) {
    return error.what();
  }
  return "accepted";
}

// Changes the first record of a kind.
template <class Record, class Change>
std::string changed(std::string bytes, Change change) {
  const uint32_t signature = Record{}.signature;
  const size_t at = bytes.find(std::string_view(reinterpret_cast<const char*>(&signature), 4));
  Record record;
  std::memcpy(&record, bytes.data() + at, sizeof record);
  change(record);
  std::memcpy(bytes.data() + at, &record, sizeof record);
  return bytes;
}

template <class Record, class Change>
std::string refused(Change change) {
  return refusal(changed<Record>(two_entries(), change));
}

TEST(ZipArchive, entries_have_their_names_and_contents) {
  const std::string bytes = two_entries();
  const ZipArchive archive(bytes);
  EXPECT_EQ(archive.entries().size(), 2u);
  EXPECT_EQ(archive.entry("a/one"), "first");
  EXPECT_EQ(archive.entry("a/two"), "");
  EXPECT_THROW(archive.entry("a/three"), Error);
}

TEST(ZipArchive, an_archive_without_zip64_records_is_read) {
  std::string bytes = two_entries();
  const size_t end64 =
      bytes.size() - sizeof(zip::EndRecord) - sizeof(zip::Locator64) - sizeof(zip::EndRecord64);
  bytes.erase(end64, sizeof(zip::EndRecord64) + sizeof(zip::Locator64));
  EXPECT_EQ(ZipArchive(bytes).entry("a/one"), "first");
}

TEST(ZipArchive, every_truncation_is_refused) {
  const std::string bytes = two_entries();
  for (size_t length = 0; length < bytes.size(); ++length)
    EXPECT_NE(refusal(std::string_view(bytes).substr(0, length)), "accepted") << length;
  EXPECT_NE(refusal(bytes + "x"), "accepted");
  EXPECT_NE(refusal("x" + bytes), "accepted");
}

TEST(ZipArchive, records_that_disagree_are_refused_with_the_reason) {
  using zip::CentralHeader, zip::EndRecord64, zip::LocalHeader, zip::Locator64, zip::EndRecord;
  EXPECT_THAT(refused<CentralHeader>([](auto& r) { r.method = 8; }), HasSubstr("is compressed"));
  EXPECT_THAT(refused<CentralHeader>([](auto& r) { r.flags = 1; }), HasSubstr("is encrypted"));
  EXPECT_THAT(refused<CentralHeader>([](auto& r) { r.size = 6; }), HasSubstr("5 bytes stored for 6"));
  EXPECT_THAT(refused<CentralHeader>([](auto& r) { r.offset = 1; }), HasSubstr("no local header"));
  EXPECT_THAT(refused<CentralHeader>([](auto& r) { r.offset = 1 << 20; }), HasSubstr("beyond the end"));
  EXPECT_THAT(refused<CentralHeader>([](auto& r) { r.name_size = 4; }), HasSubstr("zip: "));
  EXPECT_THAT(refused<CentralHeader>([](auto& r) { r.comment_size = 60000; }), HasSubstr("cut short"));
  EXPECT_THAT(refused<LocalHeader>([](auto& r) { r.name_size = 4; }), HasSubstr("another name"));
  EXPECT_THAT(refused<LocalHeader>([](auto& r) { r.extra_size = 60000; }), HasSubstr("beyond the archive"));
  EXPECT_THAT(refused<EndRecord64>([](auto& r) { r.entries = 1; }), HasSubstr("belong to no entry"));
  EXPECT_THAT(refused<EndRecord64>([](auto& r) { r.entries = uint64_t{1} << 60; }), HasSubstr("do not fit"));
  EXPECT_THAT(refused<EndRecord64>([](auto& r) { r.offset = 0; }), HasSubstr("does not end where"));
  EXPECT_THAT(refused<EndRecord64>([](auto& r) { r.size = UINT64_MAX; }), HasSubstr("does not end where"));
  EXPECT_THAT(refused<Locator64>([](auto& r) { r.offset = 0; }), HasSubstr("no zip64 end record"));
  EXPECT_THAT(refused<EndRecord>([](auto& r) { r.comment_size = 1; }), HasSubstr("comment"));
  EXPECT_THAT(refused<EndRecord>([](auto& r) { r.disk = 1; }), HasSubstr("several parts"));
}

TEST(ZipArchive, equal_names_are_refused) {
  const test::ScratchFolder folder;
  ZipWriter writer(folder / "same.zip");
  writer.add("a", "1");
  writer.add("a", "2");
  writer.publish();
  EXPECT_THAT(refusal(test::read_file(folder / "same.zip")), HasSubstr("two entries are named 'a'"));
}

}  // namespace
}  // namespace orrery
