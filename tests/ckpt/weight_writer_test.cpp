#include "ckpt/weight_writer.h"

#include <ATen/ops/arange.h>
#include <ATen/ops/full.h>
#include <ATen/ops/zeros.h>

#include "twin.h"

namespace orrery {
namespace {

using test::ScratchFolder;
using testing::HasSubstr;

const std::map<std::string, at::Tensor>& tensors() {
  static const std::map<std::string, at::Tensor> all{
      {"b", at::arange(35).view({7, 5}).to(at::kBFloat16)},
      {"a", at::arange(12).view({3, 4}).t()},  // not contiguous
      {"empty", at::zeros({0, 3})},
      {"scalar", at::full({}, 2.5)}};
  return all;
}

std::vector<TensorSpec> specs() {
  std::vector<TensorSpec> specs;
  for (const auto& [name, tensor] : tensors())
    specs.push_back({name, tensor.scalar_type(), tensor.sizes().vec()});
  return specs;
}

// One row at a time.
void write_rows(WeightWriter& writer) {
  for (const TensorSpec& spec : writer.specs()) {
    const at::Tensor& whole = tensors().at(spec.name);
    if (whole.numel() < 2) writer.write(whole);
    for (int64_t row = 0; whole.numel() > 1 && row < whole.size(0); ++row) writer.write(whole[row]);
  }
}

std::string refusal(const auto& action) {
  try {
    action();
  } catch (const Error& error) {
    return error.what();
  }
  return "accepted";
}

class WeightWriters : public testing::TestWithParam<WeightFormat> {
 protected:
  std::unique_ptr<WeightWriter> writer() const { return make_weight_writer(GetParam(), path_, specs()); }
  const ScratchFolder folder_;
  const std::filesystem::path path_ = folder_ / "weights";
};

TEST_P(WeightWriters, tensors_written_by_rows_are_read_back) {
  const auto out = writer();
  write_rows(*out);
  EXPECT_FALSE(std::filesystem::exists(path_));
  out->publish();
  const auto file = open_weights(path_);
  ASSERT_EQ(file->entries().size(), tensors().size());
  for (const auto& [name, tensor] : tensors())
    EXPECT_TRUE(test::same_bytes(file->tensor(name), tensor)) << name;
}

TEST_P(WeightWriters, what_was_not_announced_is_refused_and_leaves_no_file) {
  {
    const auto out = writer();
    const TensorSpec first = out->specs().front();
    EXPECT_THAT(refusal([&] { out->write(at::zeros({1}, at::kDouble)); }), HasSubstr("was announced"));
    EXPECT_THAT(refusal([&] { out->write(at::zeros({1000}, first.dtype)); }), HasSubstr("1000 elements"));
    EXPECT_THAT(refusal([&] { out->publish(); }), HasSubstr("0 tensors written, 4 announced"));
    write_rows(*out);
    EXPECT_THAT(refusal([&] { out->write(at::zeros({1})); }), HasSubstr("more tensors"));
  }
  EXPECT_TRUE(std::filesystem::is_empty(folder_.path()));
  EXPECT_THAT(refusal([&] {
                make_weight_writer(GetParam(), path_, {{"a", at::kFloat, {1}}, {"a", at::kFloat, {1}}});
              }),
              HasSubstr("two tensors are named 'a'"));
}

INSTANTIATE_TEST_SUITE_P(Formats, WeightWriters, testing::Values(WeightFormat::safetensors, WeightFormat::pt),
                         [](const auto& format) {
                           return std::string(names_of(format.param)[static_cast<size_t>(format.param)]);
                         });

TEST(SafetensorsWriting, parts_give_the_bytes_of_the_whole) {
  const ScratchFolder folder;
  save_safetensors(folder / "whole", tensors());
  const auto out = make_weight_writer(WeightFormat::safetensors, folder / "parts", specs());
  write_rows(*out);
  out->publish();
  EXPECT_EQ(test::read_file(folder / "parts"), test::read_file(folder / "whole"));
}

}  // namespace
}  // namespace orrery
