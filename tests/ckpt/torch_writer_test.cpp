// The writer of .pt files against our reader; torch_writer_slow_test.cpp asks PyTorch itself.
#include "ckpt/torch_writer.h"

#include <ATen/ops/arange.h>
#include <ATen/ops/randn.h>
#include <ATen/ops/zeros.h>

#include "ckpt/crc32.h"
#include "ckpt/mapped_file.h"
#include "ckpt/zip_archive.h"
#include "twin.h"

namespace orrery {
namespace {

using test::ScratchFolder;
using testing::HasSubstr;

std::map<std::string, at::Tensor> one_of_each_dtype() {
  std::map<std::string, at::Tensor> tensors;
  for (const at::ScalarType type : {at::kBool,
                                    at::kByte,
                                    at::kChar,
                                    at::kShort,
                                    at::kInt,
                                    at::kLong,
                                    at::kUInt16,
                                    at::kUInt32,
                                    at::kUInt64,
                                    at::kHalf,
                                    at::kBFloat16,
                                    at::kFloat,
                                    at::kDouble,
                                    at::kComplexFloat,
                                    at::kComplexDouble,
                                    at::kFloat8_e4m3fn,
                                    at::kFloat8_e5m2,
                                    at::kFloat8_e4m3fnuz,
                                    at::kFloat8_e5m2fnuz,
                                    at::kFloat8_e8m0fnu}) {
    at::Tensor tensor = at::zeros({3, 2}, type);
    auto* bytes = static_cast<unsigned char*>(tensor.mutable_data_ptr());
    for (size_t i = 0; i < tensor.nbytes(); ++i) bytes[i] = type == at::kBool ? i % 2 : 17 * i + 1;
    tensors.emplace(text_of("t.", type), tensor);
  }
  tensors.emplace("empty", at::zeros({2, 0, 300}));
  tensors.emplace("scalar", at::zeros({}, at::kLong));
  tensors.emplace("ключ \"quoted\"\n", at::zeros({1}));
  tensors.emplace("strided", at::arange(12, at::kFloat).reshape({3, 4}).t());
  return tensors;
}

std::string message(const std::function<void()>& act) {
  try {
    act();
  } catch (const Error& error) {
    return error.what();
  }
  return "accepted";
}

TEST(TorchWriter, what_is_written_is_read_back_for_every_dtype) {
  const ScratchFolder folder;
  const auto tensors = one_of_each_dtype();
  save_torch(folder / "all.pt", tensors);
  const auto file = open_weights(folder / "all.pt");
  ASSERT_EQ(file->entries().size(), tensors.size());
  for (const auto& [name, tensor] : tensors)
    EXPECT_TRUE(test::same_bytes(file->tensor(name), tensor)) << name;
  EXPECT_TRUE(file->leaves().empty());
  save_torch(folder / "again.pt", file->tensors());
  EXPECT_EQ(test::read_file(folder / "again.pt"), test::read_file(folder / "all.pt"));
}

TEST(TorchWriter, parts_give_the_bytes_of_the_whole) {
  const ScratchFolder folder;
  const at::Tensor whole = at::arange(35, at::kFloat).view({5, 7});
  save_torch(folder / "whole.pt", {{"a", whole}, {"b", whole}});
  TorchWriter writer(folder / "parts.pt", {{"a", at::kFloat, {5, 7}}, {"b", at::kFloat, {5, 7}}});
  for (int64_t row = 0; row < 10; ++row) writer.write(whole[row % 5]);
  writer.publish();
  EXPECT_EQ(test::read_file(folder / "parts.pt"), test::read_file(folder / "whole.pt"));
}

TEST(TorchWriter, contents_are_aligned_to_64_bytes) {
  const ScratchFolder folder;
  save_torch(folder / "all.pt", one_of_each_dtype());
  const auto file = MappedFile::open(folder / "all.pt");
  const ZipArchive archive({file->data(), file->size()});
  for (const auto& [name, entry] : archive.entries())
    EXPECT_EQ((entry.contents.data() - file->data()) % 64, 0) << name;
  EXPECT_EQ(archive.entry("archive/byteorder"), "little");
}

TEST(TorchWriter, an_empty_dict_is_a_file_without_tensors) {
  const ScratchFolder folder;
  save_torch(folder / "none.pt", {});
  EXPECT_TRUE(open_weights(folder / "none.pt")->entries().empty());
}

TEST(TorchWriter, refuses_what_a_file_cannot_hold) {
  const ScratchFolder folder;
  const auto path = folder / "file.pt";
  EXPECT_THAT(message([&] { save_torch(path, {{"\xff", at::zeros({1})}}); }), HasSubstr("not UTF-8"));
  EXPECT_THAT(message([&] { save_torch(path, {{"a", at::Tensor()}}); }), HasSubstr("undefined"));
  EXPECT_THAT(message([&] {
                TorchWriter(path, {{"a", at::kFloat, {1}}, {"a", at::kFloat, {1}}});
              }),
              HasSubstr("two tensors"));
  EXPECT_THAT(message([&] { TorchWriter(path, {{"a", at::kQInt8, {1}}}); }), HasSubstr("no storage"));
  EXPECT_FALSE(std::filesystem::exists(path));
}

TEST(TorchWriter, a_stream_that_is_not_as_announced_is_refused_and_leaves_no_file) {
  const ScratchFolder folder;
  const auto path = folder / "file.pt";
  {
    TorchWriter writer(path, {{"a", at::kFloat, {2}}, {"b", at::kFloat, {1}}});
    EXPECT_THAT(message([&] { writer.write(at::zeros({3})); }),
                HasSubstr("'a': 3 elements, announced were 2"));
    writer.write(at::zeros({2}));
    EXPECT_THAT(message([&] { writer.publish(); }), HasSubstr("1 tensors written, 2 announced"));
    EXPECT_THAT(message([&] { writer.write(at::zeros({1}, at::kLong)); }), HasSubstr("'b': a part is not"));
    writer.write(at::zeros({1}));
    EXPECT_THAT(message([&] { writer.write(at::zeros({1})); }), HasSubstr("more tensors"));
  }
  EXPECT_EQ(std::distance(std::filesystem::directory_iterator(folder.path()), {}), 0);
}

TEST(Crc32, equals_published_values) {
  EXPECT_EQ(crc32(""), 0u);
  EXPECT_EQ(crc32("6789", crc32("12345")), 0xCBF43926u);
  EXPECT_EQ(crc32("123456789"), 0xCBF43926u);  // the check value of CRC-32/ISO-HDLC
  EXPECT_EQ(crc32("The quick brown fox jumps over the lazy dog"), 0x414FA339u);
}

}  // namespace
}  // namespace orrery
