#include <nlohmann/json.hpp>

#include "base/columns.h"
#include "base/error.h"
#include "bench/report.h"

namespace orrery {
namespace {

std::string rate_of(const OpFigure& f) {
  if (f.ms <= 0) return "";
  return f.flops > 0 ? fixed(1e-9 * f.flops / f.ms, 1) + " TFLOP/s"
                     : fixed(1e-6 * f.bytes / f.ms, 1) + " GB/s";
}

std::string row_of(const OpFigure& f) {
  const std::string name = "  " + left(f.name, 26) + left(f.phase, 10);
  if (!f.failure.empty()) return name + f.failure + "\n";
  return name + right(fixed(f.ms, 4), 11) + right(fixed(f.floor_ms, 4), 11) +
         right(f.ms > 0 ? fixed(100 * f.floor_ms / f.ms, 1) : "", 9) + right(rate_of(f), 18) + "\n";
}

}  // namespace

std::string describe(const OpBench& b) {
  std::string text = text_of(
      "product of ", b.matmul_size, " x ", b.matmul_size, " matrices: ", fixed(b.matmul_tflops, 3),
      " TFLOP/s; copy: ", fixed(b.copy_gb_per_s, 1), " GB/s, read and written\n  ", left("operation", 26),
      left("", 10), right("ms", 11), right("floor ms", 11), right("floor %", 9), right("rate", 18), "\n");
  for (const OpFigure& f : b.figures) text += row_of(f);
  return text;
}

std::string json_of(const OpBench& b) {
  nlohmann::ordered_json ops = nlohmann::ordered_json::array();
  for (const OpFigure& f : b.figures)
    ops.push_back({{"name", f.name},
                   {"phase", f.phase},
                   {"ms", f.ms},
                   {"floor_ms", f.floor_ms},
                   {"flops", f.flops},
                   {"bytes", f.bytes},
                   {"failure", f.failure}});
  const nlohmann::ordered_json all = {
      {"matmul_tflops", b.matmul_tflops}, {"copy_gb_per_s", b.copy_gb_per_s}, {"ops", ops}};
  return all.dump();
}

}  // namespace orrery
