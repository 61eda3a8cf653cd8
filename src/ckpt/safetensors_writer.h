#pragma once
// SafetensorsWriter: streams a safetensors file; see weight_writer.h. Written atomically (temporary file,
// fsync, rename). Order and alignment are the reference's: dtypes from wide to narrow, then by name; header
// padded with spaces to 8 bytes.
#include "ckpt/atomic_file.h"
#include "ckpt/weight_writer.h"

namespace orrery {

class SafetensorsWriter final : public WeightWriter {
 public:
  // Error: a dtype without safetensors name, a name twice, the name __metadata__, names that are not UTF-8.
  SafetensorsWriter(const std::filesystem::path& path, std::vector<TensorSpec> specs,
                    const std::map<std::string, std::string>& metadata);

 protected:
  void append(const TensorSpec& tensor, const at::Tensor& part) override;
  void finish() override { file_.publish(); }

 private:
  AtomicFile file_;
};

}  // namespace orrery
