#include "ckpt/weight_writer.h"

#include <array>

#include "base/error.h"
#include "base/printable.h"
#include "ckpt/byte_view.h"
#include "ckpt/safetensors_writer.h"
#include "ckpt/torch_writer.h"

namespace orrery {
namespace {

int64_t elements_of(const TensorSpec& spec) {
  return c10::multiply_integers(spec.shape);
}

}  // namespace

WeightWriter::WeightWriter(std::filesystem::path path, std::vector<TensorSpec> specs)
    : path_(std::move(path)), specs_(std::move(specs)) {
  for (const TensorSpec& spec : specs_) checked_extent(spec.shape);
}

void WeightWriter::write(const at::Tensor& part) {
  require(current_ < specs_.size(), path_.string(), ": more tensors than the ", specs_.size(), " announced");
  const TensorSpec& spec = specs_[current_];
  require(part.defined() && part.layout() == at::kStrided && part.scalar_type() == spec.dtype, path_.string(),
          ": tensor ", printable(spec.name), ": a part is not the dense ", spec.dtype, " that was announced");
  const int64_t all = elements_of(spec);
  require(part.numel() <= all - written_, path_.string(), ": tensor ", printable(spec.name), ": ",
          written_ + part.numel(), " elements, announced were ", all);
  append(spec, part.cpu().resolve_conj().resolve_neg().contiguous());
  written_ += part.numel();
  if (written_ < all) return;
  ++current_;
  written_ = 0;
}

void WeightWriter::publish() {
  require(current_ == specs_.size(), path_.string(), ": ", current_, " tensors written, ", specs_.size(),
          " announced");
  finish();
}

std::span<const std::string_view> names_of(WeightFormat) {
  static constexpr std::array<std::string_view, 2> names{"safetensors", "pt"};
  return names;
}

std::unique_ptr<WeightWriter> make_weight_writer(WeightFormat format, const std::filesystem::path& path,
                                                 std::vector<TensorSpec> specs,
                                                 const std::map<std::string, std::string>& metadata) {
  if (format == WeightFormat::pt) return std::make_unique<TorchWriter>(path, std::move(specs));
  return std::make_unique<SafetensorsWriter>(path, std::move(specs), metadata);
}

}  // namespace orrery
