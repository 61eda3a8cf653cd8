#include "train/event_file.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <map>

#include "base/error.h"

namespace orrery {
namespace {

// CRC-32C bit by bit, as Castagnoli, Brauer and Herrmann (1993) define it.
uint32_t plain_crc32c(std::string_view text) {
  uint32_t crc = 0xFFFFFFFF;
  for (const unsigned char byte : text) {
    crc ^= byte;
    for (int bit = 0; bit < 8; ++bit) crc = (crc >> 1) ^ (crc & 1 ? 0x82F63B78 : 0);
  }
  return ~crc;
}

uint32_t masked(std::string_view text) {
  const uint32_t crc = plain_crc32c(text);
  return ((crc >> 15) | (crc << 17)) + 0xa282ead8;
}

template <class T>
T take(std::string_view& text) {
  T value{};
  if (text.size() < sizeof value) throw Error("record ends early");
  std::memcpy(&value, text.data(), sizeof value);
  text.remove_prefix(sizeof value);
  return value;
}

std::string_view take(std::string_view& text, size_t size) {
  if (text.size() < size) throw Error("record ends early");
  const std::string_view head = text.substr(0, size);
  text.remove_prefix(size);
  return head;
}

uint64_t take_varint(std::string_view& text) {
  uint64_t value = 0;
  for (int shift = 0;; shift += 7) {
    const auto byte = take<uint8_t>(text);
    value |= uint64_t{byte & 0x7Fu} << shift;
    if (byte < 0x80) return value;
  }
}

// Field number -> raw values: varints and fixed ones as their bytes in memory.
using Fields = std::multimap<uint64_t, std::string>;

Fields decode(std::string_view text) {
  Fields fields;
  while (!text.empty()) {
    const uint64_t key = take_varint(text);
    std::string value;
    if ((key & 7) == 0) {
      const uint64_t number = take_varint(text);
      value.assign(reinterpret_cast<const char*>(&number), sizeof number);
    } else if ((key & 7) == 1) {
      value = take(text, 8);
    } else if ((key & 7) == 2) {
      const uint64_t size = take_varint(text);
      value = take(text, size);
    } else if ((key & 7) == 5) {
      value = take(text, 4);
    } else {
      throw Error("unknown wire type");
    }
    fields.emplace(key >> 3, value);
  }
  return fields;
}

template <class T>
T as(const std::string& bytes) {
  std::string_view view = bytes;
  return take<T>(view);
}

std::string only(const Fields& fields, uint64_t number) {
  EXPECT_EQ(fields.count(number), 1u) << number;
  const auto found = fields.find(number);
  return found == fields.end() ? std::string(8, '\0') : found->second;
}

class EventFileTest : public testing::Test {
 protected:
  EventFileTest() { std::filesystem::create_directories(folder_); }
  ~EventFileTest() override { std::filesystem::remove_all(folder_); }

  std::vector<Fields> events(const EventFile& file) {
    std::ifstream in(file.path(), std::ios::binary);
    const std::string content{std::istreambuf_iterator<char>(in), {}};
    std::string_view rest = content;
    std::vector<Fields> all;
    while (!rest.empty()) {
      const std::string_view length = rest.substr(0, 8);
      const auto size = take<uint64_t>(rest);
      EXPECT_EQ(take<uint32_t>(rest), masked(length));
      const std::string_view record = take(rest, size);
      EXPECT_EQ(take<uint32_t>(rest), masked(record));
      all.push_back(decode(record));
    }
    return all;
  }

  const std::filesystem::path folder_ = testing::TempDir() + "events_" + std::to_string(getpid());
};

TEST(Crc32c, known_value) {
  EXPECT_EQ(plain_crc32c("123456789"), 0xE3069283u);  // RFC 3720, B.4
  EXPECT_EQ(masked_crc32c("123456789"), masked("123456789"));
  EXPECT_EQ(masked_crc32c(""), masked(""));
}

TEST_F(EventFileTest, starts_with_the_version_that_readers_expect) {
  const EventFile file(folder_, 1);
  EXPECT_THAT(file.path().filename().string(), testing::StartsWith("events.out.tfevents."));
  const auto all = events(file);
  ASSERT_EQ(all.size(), 2u);
  EXPECT_EQ(only(all[0], 3), "brain.Event:2");
  EXPECT_GT(as<double>(only(all[0], 1)), 1.7e9);  // seconds since 1970
}

TEST_F(EventFileTest, scalars_and_images_decode) {
  EventFile file(folder_, 1);
  file.scalars(1234567, {{"loss", 0.125}, {"lr", 3e-5}});
  const std::string png(300, '\x89');
  file.image(7, "sheet", 200, 1000, png);
  const auto all = events(file);
  ASSERT_EQ(all.size(), 4u);
  EXPECT_EQ(as<uint64_t>(only(all[2], 2)), 1234567u);
  std::map<std::string, float> values;
  const Fields summary = decode(all[2].find(5)->second);
  for (const auto& [number, text] : summary) {
    EXPECT_EQ(number, 1u);
    const Fields value = decode(text);
    values[only(value, 1)] = as<float>(only(value, 2));
  }
  EXPECT_EQ(values, (std::map<std::string, float>{{"loss", 0.125f}, {"lr", 3e-5f}}));
  const Fields value = decode(only(decode(only(all[3], 5)), 1)), image = decode(only(value, 4));
  EXPECT_EQ(only(value, 1), "sheet");
  EXPECT_EQ(as<uint64_t>(only(image, 1)), 200u);
  EXPECT_EQ(as<uint64_t>(only(image, 2)), 1000u);
  EXPECT_EQ(as<uint64_t>(only(image, 3)), 3u);
  EXPECT_EQ(only(image, 4), png);
}

TEST_F(EventFileTest, a_resumed_run_opens_a_file_of_its_own_that_marks_its_first_step) {
  const EventFile first(folder_, 1), second(folder_, 21);
  EXPECT_NE(first.path(), second.path());
  EXPECT_LT(first.path(), second.path());
  const auto all = events(second);
  ASSERT_EQ(all.size(), 2u);
  EXPECT_EQ(as<uint64_t>(only(all[1], 2)), 21u);
  EXPECT_EQ(as<uint64_t>(only(decode(only(all[1], 7)), 1)), 1u);  // SessionLog.START
}

TEST_F(EventFileTest, tensorboard_reads_it) {
  if (std::system("python3 -c 'import tensorboard' > /dev/null 2>&1") != 0) {
    GTEST_SKIP() << "python3 has no module tensorboard";
  }
  EventFile first(folder_, 1);
  first.scalars(10, {{"loss", 0.5}, {"lr", 0.25}});
  first.image(10, "sheet", 2, 3, "not really a picture");
  first.scalars(20, {{"loss", 0.125}});
  EventFile second(folder_, 11);  // resumed at step 10: step 20 is run again
  second.scalars(20, {{"loss", 0.0625}});
  const std::string command =
      "python3 " ORRERY_SOURCE_DIR "/tests/train/read_events.py " + folder_.string() + " 2> /dev/null";
  const std::unique_ptr<FILE, int (*)(FILE*)> pipe(popen(command.c_str(), "r"), pclose);
  std::array<char, 1024> line{};
  ASSERT_NE(std::fgets(line.data(), line.size(), pipe.get()), nullptr);
  EXPECT_STREQ(line.data(),
               "{\"loss\": [[10, 0.5], [20, 0.0625]], \"lr\": [[10, 0.25]], \"sheet\": [[10, 2, 3]]}\n");
}

TEST_F(EventFileTest, missing_folder_is_refused) {
  EXPECT_THROW(EventFile("/nowhere", 1), Error);
}

}  // namespace
}  // namespace orrery
