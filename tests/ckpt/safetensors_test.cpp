// The safetensors reader against files that the reference reader accepts (with their contents as JSON) or
// refuses, and the writer against the reader.
#include "ckpt/safetensors.h"

#include <ATen/ops/equal.h>
#include <ATen/ops/ones.h>
#include <ATen/ops/randn.h>
#include <ATen/ops/zeros.h>
#include <gmock/gmock.h>
#include <sys/resource.h>
#include <sys/stat.h>

#include <csignal>
#include <cstring>
#include <nlohmann/json.hpp>

#include "base/error.h"
#include "fixtures.h"

namespace orrery {
namespace {

using test::ScratchFolder;
using testing::HasSubstr;

std::string hex(std::string_view bytes) {
  static constexpr char digits[] = "0123456789abcdef";
  std::string out;
  for (const unsigned char c : bytes) out += {digits[c >> 4], digits[c & 15]};
  return out;
}

std::string_view raw(const at::Tensor& tensor) {
  return {static_cast<const char*>(tensor.const_data_ptr()), tensor.nbytes()};
}

std::string refusal(const std::filesystem::path& path) {
  try {
    for (const auto& [name, tensor] : Safetensors(path).tensors()) EXPECT_TRUE(tensor.defined());
  } catch (const Error& error) {
    return error.what();
  }
  return "accepted";
}

// A file of a header and data, its length field correct.
std::string file_of(const std::string& header, const std::string& data = "") {
  const uint64_t length = header.size();
  std::string bytes(8, '\0');
  std::memcpy(bytes.data(), &length, 8);
  return bytes + header + data;
}

void expect_equal_to_twin(const std::filesystem::path& path) {
  const auto twin =
      nlohmann::json::parse(test::read_file(std::filesystem::path(path).replace_extension(".json")));
  const Safetensors file(path);
  EXPECT_EQ(nlohmann::json(file.metadata()), twin["metadata"]) << path;
  ASSERT_EQ(file.entries().size(), twin["tensors"].size()) << path;
  for (const auto& [name, wanted] : twin["tensors"].items()) {
    ASSERT_TRUE(file.contains(name)) << path << " " << name;
    EXPECT_EQ(file.entries().at(name).dtype->name, wanted["dtype"]) << name;
    const at::Tensor tensor = file.tensor(name);
    EXPECT_EQ(tensor.sizes().vec(), wanted["shape"].get<std::vector<int64_t>>()) << name;
    EXPECT_EQ(hex(raw(tensor)), wanted["hex"]) << name;
    EXPECT_EQ(hex(file.bytes(name)), wanted["hex"]) << name;
    EXPECT_EQ(reinterpret_cast<uintptr_t>(tensor.const_data_ptr()) % tensor.element_size(), 0u) << name;
  }
}

TEST(Safetensors, reads_every_well_formed_file) {
  const auto files = test::files_in(test::golden(), "st_ok_", ".safetensors");
  ASSERT_GE(files.size(), 10u);
  for (const auto& path : files) expect_equal_to_twin(path);
}

TEST(Safetensors, refuses_every_malformed_file_with_its_reason) {
  const std::map<std::string, std::string> reasons{
      {"begin_after_end", "after end"},
      {"bytes_overflow", "bits overflows"},
      {"dtype", "unknown dtype 'F31'"},
      {"duplicate_keys", "duplicate key 'a'"},
      {"empty_file", "too short"},
      {"header_beyond_file", "beyond the file"},
      {"header_huge", "above the limit"},
      {"hole", "belong to no tensor"},
      {"hole_front", "bytes 0 to 4 before tensor"},
      {"json_bomb", "does not begin with '{'"},
      {"json_bomb_object", "unknown field"},
      {"json_extra", "not valid JSON"},
      {"json_truncated", "not valid JSON"},
      {"metadata_value", "wanted a string"},
      {"missing_field", "no pair of data_offsets"},
      {"negative_offset", "negative"},
      {"not_object", "does not begin with '{'"},
      {"not_utf8", "not valid JSON"},
      {"overlap", "overlaps"},
      {"same_range", "overlaps"},
      {"shape_float", "not an integer"},
      {"shape_negative", "negative"},
      {"shape_overflow", "overflows"},
      {"short_file", "too short"},
      {"size_mismatch", "want 24"},
      {"trailing_bytes", "3 trailing bytes"},
      {"truncated_data", "cut short"},
  };
  const auto files = test::files_in(test::golden(), "st_bad_", ".safetensors");
  EXPECT_EQ(files.size(), reasons.size());
  for (const auto& path : files) {
    const std::string stem = path.stem().string().substr(7);
    ASSERT_EQ(reasons.count(stem), 1u) << stem;
    EXPECT_THAT(refusal(path),
                testing::AllOf(HasSubstr(reasons.at(stem)), HasSubstr(path.filename().string())))
        << stem;
  }
}

TEST(Safetensors, refuses_what_a_lenient_json_parser_lets_through) {
  const ScratchFolder folder;
  const std::string entry = R"("a":{"dtype":"U8","shape":[1],"data_offsets":[0,1]})";
  const std::map<std::string, std::string> cases{
      {"zero byte", "{" + entry + "}" + std::string("\0\0", 2)},
      {"begin with", "\xef\xbb\xbf{" + entry + "}"},
      {"begin with", " {" + entry + "}"},
      {"duplicate field shape", R"({"a":{"dtype":"U8","shape":[1],"shape":[1],"data_offsets":[0,1]}})"},
      {"duplicate field dtype", R"({"a":{"dtype":"U8","dtype":"U8","shape":[1],"data_offsets":[0,1]}})"},
      {"unknown field", R"({"a":{"dtype":"U8","shape":[1],"data_offsets":[0,1],"x":[]}})"},
      {"too long", R"({"a":{"dtype":"U8","shape":[1],"data_offsets":[0,1,1]}})"},
      {"no pair", R"({"a":{"dtype":"U8","shape":[1],"data_offsets":[0]}})"},
      {"holds an array", R"({"a":{"dtype":["U8"],"shape":[1],"data_offsets":[0,1]}})"},
      {"not an integer", R"({"a":{"dtype":"U8","shape":[1e0],"data_offsets":[0,1]}})"},
      {"negative", R"({"a":{"dtype":"U8","shape":[1],"data_offsets":[-0,1]}})"},
      {"not an integer", R"({"a":{"dtype":"U8","shape":[1],"data_offsets":[0,18446744073709551617]}})"},
      {"duplicate metadata", R"({"__metadata__":{"k":"1","k":"2"},)" + entry + "}"},
      {"duplicate key '__metadata__'", R"({"__metadata__":{},"__metadata__":{},)" + entry + "}"},
      {"wanted an object", R"({"a":[]})"},
      {"overflows", R"({"a":{"dtype":"U8","shape":[1],"data_offsets":[0,1]},"b":{"dtype":"U8",)"
                    R"("shape":[0,4611686018427387904,4],"data_offsets":[1,1]}})"},
      {"whole number of bytes", R"({"a":{"dtype":"F4","shape":[1],"data_offsets":[0,1]}})"},
  };
  int number = 0;
  for (const auto& [reason, header] : cases) {
    const auto path = folder / text_of("case", number++, ".safetensors");
    test::write_file(path, file_of(header, "x"));
    EXPECT_THAT(refusal(path), HasSubstr(reason)) << header;
  }
  test::write_file(folder / "good", file_of("{" + entry + "}", "x"));
  EXPECT_EQ(refusal(folder / "good"), "accepted");
}

TEST(Safetensors, refuses_long_shapes_without_storing_them) {
  const ScratchFolder folder;
  std::string shape = "1";
  for (int i = 0; i < 1'000'000; ++i) shape += ",1";
  test::write_file(folder / "long",
                   file_of(R"({"a":{"dtype":"U8","shape":[)" + shape + R"(],"data_offsets":[0,1]}})", "x"));
  EXPECT_THAT(refusal(folder / "long"), HasSubstr("shape is too long"));
}

TEST(Safetensors, refuses_a_header_above_the_limit) {
  const ScratchFolder folder;
  const uint64_t length = 100'000'001;
  std::string bytes(8, '\0');
  std::memcpy(bytes.data(), &length, 8);
  test::write_file(folder / "large", bytes + "{}");
  std::filesystem::resize_file(folder / "large", length + 8);  // sparse
  EXPECT_THAT(refusal(folder / "large"), HasSubstr("above the limit"));
}

TEST(Safetensors, every_truncation_and_every_flipped_header_byte_is_refused_or_read) {
  const ScratchFolder folder;
  const std::string good = test::read_file(test::golden() / "st_ok_unordered.safetensors");
  ASSERT_FALSE(good.empty());
  for (size_t length = 0; length < good.size(); ++length) {
    test::write_file(folder / "cut", good.substr(0, length));
    EXPECT_NE(refusal(folder / "cut"), "accepted") << length;
  }
  int refused = 0;
  for (size_t at = 0; at < good.size(); ++at)
    for (int bit = 0; bit < 8; ++bit) {
      std::string bad = good;
      bad[at] = static_cast<char>(bad[at] ^ (1 << bit));
      test::write_file(folder / "flip", bad);
      refused += refusal(folder / "flip") != "accepted";
    }
  EXPECT_GT(refused, 1000);
}

TEST(Safetensors, refuses_what_is_not_a_regular_file) {
  const ScratchFolder folder;
  EXPECT_THAT(refusal(folder.path()), HasSubstr("is a folder"));
  EXPECT_THAT(refusal(folder / "absent"), HasSubstr("cannot open"));
  ASSERT_EQ(::mkfifo((folder / "fifo").c_str(), 0600), 0);
  EXPECT_THAT(refusal(folder / "fifo"), HasSubstr("not a regular file"));
  EXPECT_THAT(refusal("/dev/null"), HasSubstr("not a regular file"));
  if (::geteuid() != 0) {  // root reads everything
    test::write_file(folder / "secret", file_of("{}"));
    ::chmod((folder / "secret").c_str(), 0);
    EXPECT_THAT(refusal(folder / "secret"), HasSubstr("cannot open"));
  }
}

TEST(Safetensors, refuses_a_bool_that_is_neither_0_nor_1) {
  const ScratchFolder folder;
  test::write_file(folder / "bool",
                   file_of(R"({"a":{"dtype":"BOOL","shape":[2],"data_offsets":[0,2]}})", "\1\2"));
  EXPECT_THAT(refusal(folder / "bool"), HasSubstr("neither 0 nor 1"));
}

TEST(Safetensors, lists_a_dtype_that_cannot_be_computed_with) {
  const ScratchFolder folder;
  test::write_file(folder / "f4", file_of(R"({"a":{"dtype":"F4","shape":[4],"data_offsets":[0,2]}})", "xy"));
  const Safetensors file(folder / "f4");
  EXPECT_EQ(file.bytes("a"), "xy");
  EXPECT_THROW(file.tensor("a"), Error);
}

TEST(Safetensors, names_the_missing_tensor) {
  const Safetensors file(test::golden() / "st_ok_scalar.safetensors");
  try {
    file.tensor("absent\x1b[31m");
    FAIL();
  } catch (const Error& error) {
    EXPECT_THAT(error.what(), HasSubstr("no tensor 'absent?[31m'"));
  }
}

TEST(Safetensors, tensors_outlive_the_reader_and_writes_stay_out_of_the_file) {
  const auto path = test::golden() / "st_ok_unordered.safetensors";
  const std::string before = test::read_file(path);
  at::Tensor tensor = Safetensors(path).tensor("z");
  EXPECT_EQ(tensor.sizes().vec(), std::vector<int64_t>{3});
  tensor.fill_(7);
  EXPECT_EQ(tensor[1].item<float>(), 7);
  EXPECT_EQ(test::read_file(path), before);
}

std::map<std::string, at::Tensor> one_of_each_dtype() {
  std::map<std::string, at::Tensor> tensors;
  for (const at::ScalarType type :
       {at::kBool, at::kByte, at::kChar, at::kShort, at::kInt, at::kLong, at::kUInt16, at::kUInt32,
        at::kUInt64, at::kHalf, at::kBFloat16, at::kFloat, at::kDouble, at::kComplexFloat, at::kFloat8_e4m3fn,
        at::kFloat8_e5m2, at::kFloat8_e4m3fnuz, at::kFloat8_e5m2fnuz, at::kFloat8_e8m0fnu}) {
    at::Tensor tensor = at::zeros({3, 1}, type);
    auto* bytes = static_cast<unsigned char*>(tensor.mutable_data_ptr());
    for (size_t i = 0; i < tensor.nbytes(); ++i) bytes[i] = type == at::kBool ? i % 2 : 17 * i + 1;
    tensors.emplace(text_of("t.", type), tensor);
  }
  tensors.emplace("empty", at::zeros({2, 0, 3}));
  tensors.emplace("scalar", at::zeros({}, at::kLong));
  tensors.emplace("ключ \"quoted\"\n", at::zeros({1}));
  return tensors;
}

TEST(SafetensorsWriter, what_is_written_is_read_back_for_every_dtype) {
  const ScratchFolder folder;
  const auto tensors = one_of_each_dtype();
  const std::map<std::string, std::string> metadata{{"format", "pt"}, {"é", "\t\"\\"}};
  save_safetensors(folder / "all.safetensors", tensors, metadata);
  const Safetensors file(folder / "all.safetensors");
  EXPECT_EQ(file.metadata(), metadata);
  ASSERT_EQ(file.entries().size(), tensors.size());
  for (const auto& [name, tensor] : tensors) {
    const at::Tensor back = file.tensor(name);
    EXPECT_EQ(back.scalar_type(), tensor.scalar_type()) << name;
    EXPECT_EQ(back.sizes(), tensor.sizes()) << name;
    EXPECT_EQ(raw(back), raw(tensor)) << name;
  }
  save_safetensors(folder / "again.safetensors", file.tensors(), file.metadata());
  EXPECT_EQ(test::read_file(folder / "again.safetensors"), test::read_file(folder / "all.safetensors"));
}

TEST(SafetensorsWriter, lays_files_out_as_the_reference_does) {
  const ScratchFolder folder;
  save_safetensors(folder / "file", {{"b", at::zeros({1}, at::kByte)},
                                     {"a", at::zeros({1}, at::kByte)},
                                     {"z", at::zeros({1}, at::kHalf)},
                                     {"yy", at::zeros({1}, at::kLong)}});
  const std::string bytes = test::read_file(folder / "file");
  EXPECT_EQ(
      bytes.substr(8, bytes.find(' ') - 8),
      R"({"yy":{"dtype":"I64","shape":[1],"data_offsets":[0,8]},"z":{"dtype":"F16","shape":[1],"data_offsets":[8,10]},)"
      R"("a":{"dtype":"U8","shape":[1],"data_offsets":[10,11]},"b":{"dtype":"U8","shape":[1],"data_offsets":[11,12]}})");
  EXPECT_EQ((bytes.size() - 12) % 8, 0u);
}

// The golden cases were written by the reference implementation.
TEST(SafetensorsWriter, places_every_tensor_where_the_reference_does) {
  const ScratchFolder folder;
  for (const auto& path : test::files_in(test::golden(), "dit_fp32_", ".safetensors")) {
    const Safetensors reference(path);
    save_safetensors(folder / "ours", reference.tensors(), reference.metadata());
    const Safetensors ours(folder / "ours");
    ASSERT_EQ(ours.entries().size(), reference.entries().size());
    for (const auto& [name, entry] : reference.entries()) {
      EXPECT_EQ(ours.entries().at(name).begin, entry.begin) << path << " " << name;
      EXPECT_EQ(ours.bytes(name), reference.bytes(name)) << path << " " << name;
    }
    EXPECT_EQ(std::filesystem::file_size(folder / "ours"), std::filesystem::file_size(path));
  }
}

TEST(SafetensorsWriter, strided_tensors_are_written_in_order) {
  const ScratchFolder folder;
  const at::Tensor matrix = at::randn({3, 4});
  save_safetensors(folder / "file", {{"t", matrix.t()}, {"row", matrix[1]}});
  const Safetensors file(folder / "file");
  EXPECT_TRUE(at::equal(file.tensor("t"), matrix.t()));
  EXPECT_TRUE(at::equal(file.tensor("row"), matrix[1]));
}

TEST(SafetensorsWriter, replaces_a_file_that_is_being_read_without_disturbing_the_reader) {
  const ScratchFolder folder;
  const auto path = folder / "file";
  save_safetensors(path, {{"a", at::zeros({4096})}});
  const at::Tensor old = Safetensors(path).tensor("a");
  save_safetensors(path, {{"a", at::ones({1})}});
  EXPECT_EQ(old.sum().item<float>(), 0);
  EXPECT_EQ(Safetensors(path).tensor("a").item<float>(), 1);
}

TEST(SafetensorsWriter, a_refused_write_leaves_the_old_file_and_no_temporary_one) {
  const ScratchFolder folder;
  const auto path = folder / "file";
  save_safetensors(path, {{"a", at::zeros({1})}});
  const std::string before = test::read_file(path);
  EXPECT_THROW(save_safetensors(path, {{"__metadata__", at::zeros({1})}}), Error);
  EXPECT_THROW(save_safetensors(path, {{"\xff", at::zeros({1})}}), Error);
  EXPECT_THROW(save_safetensors(path, {{"a", at::Tensor()}}), Error);
  EXPECT_THROW(save_safetensors(path, {{"a", at::zeros({1}, at::kComplexDouble)}}), Error);
  EXPECT_THROW(save_safetensors(folder.path(), {}), Error);
  EXPECT_THROW(save_safetensors(folder / "absent/file", {}), Error);
  EXPECT_EQ(test::read_file(path), before);
  EXPECT_EQ(std::distance(std::filesystem::directory_iterator(folder.path()), {}), 1);
}

TEST(SafetensorsWriter, a_write_that_fails_half_way_leaves_the_old_file_and_no_temporary_one) {
  const ScratchFolder folder;
  const auto path = folder / "file";
  save_safetensors(path, {{"a", at::zeros({1})}});
  const std::string before = test::read_file(path);
  rlimit old{};
  ASSERT_EQ(::getrlimit(RLIMIT_FSIZE, &old), 0);
  const auto handler = std::signal(SIGXFSZ, SIG_IGN);
  const rlimit small{4096, old.rlim_max};  // stands for a full disk
  ASSERT_EQ(::setrlimit(RLIMIT_FSIZE, &small), 0);
  try {
    save_safetensors(path, {{"a", at::zeros({4096})}});
    ADD_FAILURE() << "written beyond the limit";
  } catch (const Error& error) {
    EXPECT_THAT(error.what(), HasSubstr("cannot write"));
    EXPECT_EQ(error.code(), Exit::failure);
  }
  ::setrlimit(RLIMIT_FSIZE, &old);
  std::signal(SIGXFSZ, handler);
  EXPECT_EQ(test::read_file(path), before);
  EXPECT_EQ(std::distance(std::filesystem::directory_iterator(folder.path()), {}), 1);
}

}  // namespace
}  // namespace orrery
