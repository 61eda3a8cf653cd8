#pragma once
// WeightWriter: writes a file of tensors that need not be in memory together, whatever the format. Used by
// all that turns weights into weights: export, import, merge. The file appears complete or not at all.
#include <ATen/core/Tensor.h>

#include <filesystem>
#include <map>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "ckpt/tensor_spec.h"

namespace orrery {

class WeightWriter {
 public:
  virtual ~WeightWriter() = default;

  // What was announced, in the order in which it must be written.
  const std::vector<TensorSpec>& specs() const { return specs_; }

  // The next elements of the current tensor in row-major order, of any strides and on any device; an empty
  // tensor takes one empty part. Error: another dtype than announced, or more elements than the tensor has.
  void write(const at::Tensor& part);

  // Once, last: the file appears under its name. Error unless everything was written.
  void publish();

 protected:
  WeightWriter(std::filesystem::path path, std::vector<TensorSpec> specs);
  virtual void append(const TensorSpec& tensor, const at::Tensor& part) = 0;  // on the CPU, contiguous
  virtual void finish() = 0;

  const std::filesystem::path path_;
  std::vector<TensorSpec> specs_;

 private:
  size_t current_ = 0;
  int64_t written_ = 0;  // elements of the current tensor
};

enum class WeightFormat { safetensors, pt };
std::span<const std::string_view> names_of(WeightFormat);

// The writer of a format; metadata are kept in safetensors files alone. Errors: those of SafetensorsWriter
// and TorchWriter.
std::unique_ptr<WeightWriter> make_weight_writer(WeightFormat format, const std::filesystem::path& path,
                                                 std::vector<TensorSpec> specs,
                                                 const std::map<std::string, std::string>& metadata = {});

}  // namespace orrery
