// The zip reader: archives of stored entries, zip64, and every kind of disagreement between the records.
#include "ckpt/zip_archive.h"

#include <gmock/gmock.h>

#include "base/error.h"
#include "ckpt/crc32.h"
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

// The archive with more bytes at this place; every offset behind it is adjusted.
std::string inserted(std::string bytes, size_t place, const std::string& junk) {
  const auto add = [&](auto& r) { r.offset += r.offset >= place ? static_cast<uint32_t>(junk.size()) : 0; };
  const size_t end_at = bytes.size() - sizeof(zip::EndRecord), locator_at = end_at - sizeof(zip::Locator64),
               end64_at = locator_at - sizeof(zip::EndRecord64);
  const auto change = [&]<class Record>(size_t at, Record record, auto edit) {
    std::memcpy(&record, bytes.data() + at, sizeof record);
    edit(record);
    std::memcpy(bytes.data() + at, &record, sizeof record);
    return record;
  };
  size_t at = 0;
  change(end64_at, zip::EndRecord64{}, [&](auto& r) { at = r.offset; });
  while (at < end64_at) {
    const auto header = change(at, zip::CentralHeader{}, add);
    at += sizeof header + header.name_size + header.extra_size + header.comment_size;
  }
  change(end64_at, zip::EndRecord64{}, add);
  change(locator_at, zip::Locator64{}, add);
  change(end_at, zip::EndRecord{}, add);
  return bytes.insert(place, junk);
}

TEST(ZipArchive, bytes_that_belong_to_nothing_are_refused) {
  const std::string bytes = two_entries();
  const size_t second = bytes.find("PK\3\4", 1), directory = bytes.find("PK\1\2");
  EXPECT_EQ(refusal(inserted(bytes, 0, "")), "accepted");
  EXPECT_THAT(refusal(inserted(bytes, 0, "PK junk")), HasSubstr("7 bytes before entry 'a/one'"));
  EXPECT_THAT(refusal(inserted(bytes, second, "junk")), HasSubstr("4 bytes before entry 'a/two'"));
  EXPECT_THAT(refusal(inserted(bytes, directory, "junk")), HasSubstr("4 bytes before the central directory"));
}

TEST(ZipArchive, a_data_descriptor_behind_an_entry_must_agree_with_the_directory) {
  const auto with_flag = [](std::string bytes) {
    return changed<zip::LocalHeader>(bytes, [](auto& r) { r.flags |= 8; });
  };
  const std::string bytes = with_flag(two_entries());
  const size_t second = bytes.find("PK\3\4", 1);
  const auto descriptor = [](std::string_view contents, auto size) {
    const uint32_t crc = crc32(contents);
    std::string out = "PK\7\10";
    out.append(reinterpret_cast<const char*>(&crc), sizeof crc);
    for (int i = 0; i < 2; ++i) out.append(reinterpret_cast<const char*>(&size), sizeof size);
    return out;
  };
  EXPECT_EQ(refusal(inserted(bytes, second, descriptor("first", uint32_t{5}))), "accepted");
  EXPECT_EQ(refusal(inserted(bytes, second, descriptor("first", uint64_t{5}))), "accepted");
  EXPECT_EQ(refusal(inserted(bytes, second, descriptor("first", uint32_t{5}).substr(4))), "accepted");
  EXPECT_THAT(refusal(inserted(bytes, second, descriptor("first", uint32_t{6}))), HasSubstr("16 bytes"));
  EXPECT_THAT(refusal(inserted(bytes, second, descriptor("First", uint32_t{5}))), HasSubstr("16 bytes"));
  EXPECT_THAT(refusal(inserted(two_entries(), second, descriptor("first", uint32_t{5}))),
              HasSubstr("16 bytes before entry 'a/two'"));
}

TEST(ZipArchive, contents_are_held_against_their_checksums_where_there_are_any) {
  std::string bytes = two_entries();
  EXPECT_THAT(ZipArchive(bytes).damage([] {}), testing::IsEmpty());
  bytes[bytes.find("first")] = 'F';
  EXPECT_THAT(ZipArchive(bytes).damage([] {}), testing::ElementsAre(HasSubstr("'a/one'")));
  bytes = changed<zip::CentralHeader>(bytes, [](auto& r) { r.crc = 0; });
  EXPECT_THAT(ZipArchive(bytes).damage([] {}), testing::IsEmpty());
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
