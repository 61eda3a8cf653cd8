#include <nlohmann/json.hpp>

#include "base/columns.h"
#include "base/error.h"
#include "bench/time_table.h"
#include "bench/vae_bench.h"

namespace orrery {
namespace {

constexpr double kGib = 1 << 30;

std::string gib(int64_t bytes) {
  return fixed(static_cast<double>(bytes) / kGib, 3);
}

double floor_of(const TimeRow& r, const DeviceRates& rates) {
  return r.calls > 0 ? rates.floor_ms(r.flops, r.bytes) : 0;
}

double floor_of(const VaeFigures& f, const DeviceRates& rates) {
  double sum = 0;
  for (const TimeRow& r : f.rows) sum += floor_of(r, rates);
  return sum;
}

std::string summary(const std::string& name, const VaeFigures& f, const DeviceRates& rates) {
  const auto [least, most] = std::minmax_element(f.ms.begin(), f.ms.end());
  return text_of("  ", left(name, 10), right(fixed(f.median_ms(), 2), 11), right(fixed(*least, 2), 11),
                 right(fixed(*most, 2), 11), right(fixed(1e-12 * f.flops(), 2), 11),
                 right(fixed(1e-9 * f.flops() / f.median_ms(), 1), 11),
                 right(fixed(floor_of(f, rates), 2), 11), right(gib(f.peak_bytes), 11),
                 right(gib(f.remembered_bytes), 12), "\n");
}

std::string table(const std::string& name, const VaeFigures& f, const DeviceRates& rates, int64_t most) {
  const double all = total_ms(f.rows);
  std::string text = text_of("\n", name, ": times of a profiled call (", fixed(f.profiled_ms, 2),
                             " ms) on rank 0, each moment in one row\n", right("ms", 11), right("%", 8),
                             right("floor ms", 11), right("calls", 8), right("rate", 16), "  label\n");
  for (size_t i = 0; i < f.rows.size() && static_cast<int64_t>(i) < most; ++i) {
    const TimeRow& r = f.rows[i];
    const bool is_op = r.phase == "forward";
    text += text_of(right(fixed(r.ms, 3), 11), right(fixed(100 * r.ms / all, 2), 8),
                    right(is_op ? fixed(floor_of(r, rates), 3) : "", 11), right(fixed(r.calls, 0), 8),
                    right(is_op ? rate_of(r) : "", 16), "  ", is_op || r.phase.empty() ? "" : r.phase + "  ",
                    r.label, "\n");
  }
  return text;
}

nlohmann::ordered_json figures(const VaeFigures& f, const DeviceRates& rates) {
  nlohmann::ordered_json rows = nlohmann::ordered_json::array();
  for (const TimeRow& r : f.rows)
    rows.push_back({{"label", r.label},
                    {"phase", r.phase},
                    {"calls", r.calls},
                    {"ms", r.ms},
                    {"floor_ms", floor_of(r, rates)},
                    {"flops", r.flops},
                    {"bytes", r.bytes}});
  return {{"ms", f.ms},
          {"median_ms", f.median_ms()},
          {"flops", f.flops()},
          {"floor_ms", floor_of(f, rates)},
          {"profiled_ms", f.profiled_ms},
          {"peak_bytes", f.peak_bytes},
          {"remembered_bytes", f.remembered_bytes},
          {"rows", rows}};
}

}  // namespace

std::string describe(const VaeBench& b, int64_t rows) {
  const DataConfig& film = b.config.data;
  std::string text = text_of(
      "Wan2.1 autoencoder, ", b.config.tokenizer.width, " channels: a film of ", film.frames, " x ",
      film.height, " x ", film.width, ", ", name_of(b.config.tokenizer.dtype), ", ", b.ranks,
      b.ranks == 1 ? " rank" : " ranks", ", windows of ", b.config.tokenizer.encode_window, " frames and ",
      b.config.tokenizer.decode_window, " latent frames\nproduct of ", b.rates.matmul_size, " x ",
      b.rates.matmul_size, " matrices: ", fixed(b.rates.matmul_tflops, 3),
      " TFLOP/s; copy: ", fixed(b.rates.copy_gb_per_s, 1),
      " GB/s, read and written; weights: ", gib(b.weight_bytes), " GiB\n  ", left("", 10),
      right("median ms", 11), right("least", 11), right("most", 11), right("TFLOP", 11), right("TFLOP/s", 11),
      right("floor ms", 11), right("peak GiB", 11), right("remembered", 12), "\n");
  text += summary("encode", b.encode, b.rates) + summary("decode", b.decode, b.rates);
  if (b.own + b.fused + b.plain + b.refused > 0)
    text += text_of("convolutions by our own kernel: ", b.own, ", by cuDNN with bias and residual: ", b.fused,
                    ", without: ", b.plain, ", by ATen: ", b.refused,
                    b.refused > 0 ? " (last: " + b.last_refusal + ")" : "", "\n");
  text += table("encode", b.encode, b.rates, rows) + table("decode", b.decode, b.rates, rows);
  if (!b.engines.empty()) text += "\nkernels of convolutions: x * weight\n";
  for (const std::string& engine : b.engines) text += "  " + engine + "\n";
  return text;
}

std::string json_of(const VaeBench& b) {
  const DataConfig& film = b.config.data;
  const nlohmann::ordered_json json = {{"frames", film.frames},
                                       {"height", film.height},
                                       {"width", film.width},
                                       {"tokenizer_width", b.config.tokenizer.width},
                                       {"dtype", name_of(b.config.tokenizer.dtype)},
                                       {"device", name_of(b.config.numerics.device)},
                                       {"ranks", b.ranks},
                                       {"window_encode", b.config.tokenizer.encode_window},
                                       {"window_decode", b.config.tokenizer.decode_window},
                                       {"tune", b.config.numerics.tune},
                                       {"matmul_tflops", b.rates.matmul_tflops},
                                       {"copy_gb_per_s", b.rates.copy_gb_per_s},
                                       {"weight_bytes", b.weight_bytes},
                                       {"encode", figures(b.encode, b.rates)},
                                       {"decode", figures(b.decode, b.rates)},
                                       {"own", b.own},
                                       {"fused", b.fused},
                                       {"plain", b.plain},
                                       {"refused", b.refused},
                                       {"last_refusal", b.last_refusal},
                                       {"engines", b.engines}};
  return json.dump();
}

}  // namespace orrery
