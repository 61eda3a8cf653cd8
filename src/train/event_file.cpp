#include "train/event_file.h"

#include <unistd.h>

#include <bit>
#include <boost/crc.hpp>
#include <chrono>

#include "base/error.h"

namespace orrery {
namespace {

static_assert(std::endian::native ==
              std::endian::little);  // fixed-width fields are stored as they lie in memory

// Protocol buffers wire format: a key (field number << 3 | type) and a value.
enum WireType : uint32_t { varint = 0, fixed64 = 1, bytes = 2, fixed32 = 5 };

template <class T>
std::string raw(T value) {
  return {reinterpret_cast<const char*>(&value), sizeof value};
}

std::string varint_text(uint64_t value) {
  std::string text;
  for (; value >= 0x80; value >>= 7) text += static_cast<char>(value | 0x80);
  return text + static_cast<char>(value);
}

std::string key(uint32_t field, WireType type) {
  return varint_text(field << 3 | type);
}
std::string integer(uint32_t field, int64_t value) {
  return key(field, varint) + varint_text(static_cast<uint64_t>(value));
}
std::string number(uint32_t field, double value) {
  return key(field, fixed64) + raw(value);
}
std::string number(uint32_t field, float value) {
  return key(field, fixed32) + raw(value);
}
std::string message(uint32_t field, std::string_view content) {
  return key(field, bytes) + varint_text(content.size()) + std::string(content);
}

// Event: wall_time 1, step 2, file_version 3, summary 5, session_log 7.
std::string event(int64_t step, const std::string& what) {
  const auto now = std::chrono::system_clock::now().time_since_epoch();
  return number(1, std::chrono::duration<double>(now).count()) + integer(2, step) + what;
}

// Summary: value 1. Value: tag 1, simple_value 2, image 4. Image: height 1, width 2, colorspace 3 (3: RGB),
// PNG 4.
std::string scalar_value(std::string_view tag, double value) {
  return message(1, message(1, tag) + number(2, static_cast<float>(value)));
}

std::filesystem::path new_path(const std::filesystem::path& folder) {
  std::array<char, 256> host{};
  gethostname(host.data(), host.size() - 1);
  const auto now = std::chrono::system_clock::now().time_since_epoch();
  const auto seconds = std::chrono::duration_cast<std::chrono::seconds>(now).count();
  const std::string name = text_of("events.out.tfevents.", seconds, ".", host.data(), ".", getpid());
  for (int i = 0;; ++i) {  // TensorBoard reads files in the order of names
    const auto path = folder / (i == 0 ? name : name + "." + std::to_string(i));
    if (!std::filesystem::exists(path)) return path;
  }
}

}  // namespace

uint32_t masked_crc32c(std::string_view text) {
  boost::crc_optimal<32, 0x1EDC6F41, 0xFFFFFFFF, 0xFFFFFFFF, true, true> crc;
  crc.process_bytes(text.data(), text.size());
  const uint32_t sum = crc.checksum();
  return ((sum >> 15) | (sum << 17)) + 0xa282ead8u;
}

EventFile::EventFile(const std::filesystem::path& folder, int64_t first_step) : path_(new_path(folder)) {
  out_.open(path_, std::ios::binary);
  require(out_.good(), path_.string(), ": cannot be opened for writing");
  write(event(0, message(3, "brain.Event:2")));
  write(event(first_step, message(7, integer(1, 1))));  // SessionLog: status 1 = START
}

void EventFile::scalars(int64_t step, const Metrics& metrics) {
  std::string values;
  for (const auto& [name, value] : metrics) values += scalar_value(name, value);
  write(event(step, message(5, values)));
}

void EventFile::image(int64_t step, std::string_view tag, int64_t height, int64_t width,
                      std::string_view png) {
  const std::string image = integer(1, height) + integer(2, width) + integer(3, 3) + message(4, png);
  write(event(step, message(5, message(1, message(1, tag) + message(4, image)))));
}

void EventFile::write(std::string_view record) {
  const std::string length = raw(static_cast<uint64_t>(record.size()));
  out_ << length << raw(masked_crc32c(length)) << record << raw(masked_crc32c(record)) << std::flush;
  if (!out_)
    throw Error(text_of(path_.string(), ": an event was not written (is the disk full?)"), Exit::failure);
}

}  // namespace orrery
