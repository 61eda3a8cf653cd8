#pragma once
// EventFile: scalars and pictures for TensorBoard. The format is TFRecord framing
// (tensorflow/core/lib/io/record_writer) around Event messages (tensorflow/core/util/event.proto), encoded
// here by hand.
#include <ATen/core/Tensor.h>

#include <filesystem>
#include <fstream>
#include <string>
#include <string_view>

#include "base/metrics_log.h"

namespace orrery {

class EventFile {
 public:
  // Makes events.out.tfevents.SECONDS.HOST.PID in the folder. TensorBoard then hides what earlier files say
  // about steps
  // >= first_step, so that a resumed run shows no step twice.
  EventFile(const std::filesystem::path& folder, int64_t first_step);

  void scalars(int64_t step, const Metrics& metrics);  // as float32
  void image(int64_t step, std::string_view tag, int64_t height, int64_t width, std::string_view png);
  const std::filesystem::path& path() const { return path_; }

 private:
  void write(std::string_view event);
  std::filesystem::path path_;
  std::ofstream out_;
};

uint32_t masked_crc32c(std::string_view bytes);  // of a TFRecord

}  // namespace orrery
