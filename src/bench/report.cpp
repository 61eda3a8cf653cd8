#include "bench/report.h"

#include <algorithm>
#include <nlohmann/json.hpp>

#include "base/columns.h"
#include "base/error.h"
#include "bench/time_table.h"
#include "infer/world_model.h"

namespace orrery {
namespace {

constexpr double kMibPerGib = 1024, kGib = 1 << 30;

// Figures that follow from a benchmark.
struct Rates {
  double model_flops, tokens;  // of a step, all ranks
  double mfu = 0, hfu = 0;     // of the peak; 0: it is not known
  double operation_flops = 0;  // of the ops that ran in a step on the first rank
  double profiled_ms = 0, waiting = 0;
};

Rates rates_of(const TrainBench& b, const Expected& expected) {
  Rates r{.model_flops = model_flops(b.config),
          .tokens = static_cast<double>(tokens_of_clip(b.config) * b.config.train.batch),
          .operation_flops = total_flops(b.rows)};
  r.waiting = waiting_ms(b.rows);
  if (!expected.ceilings) return r;
  const double peak = 1e12 * expected.ceilings->peak_tflops * 1e-3 * b.median_ms();  // of a rank in a step
  r.mfu = r.model_flops / (b.mesh.size() * peak);
  r.hfu = r.operation_flops / peak;
  return r;
}

std::string line(const std::string& name, const std::string& value, const std::string& unit,
                 const std::string& note = "") {
  return "  " + left(name, 26) + right(value, 12) + " " + left(unit, 12) + note + "\n";
}

std::string work_part(const TrainBench& b) {
  const Config& c = b.config;
  return text_of(c.model.preset, ": ", c.train.batch, c.train.batch == 1 ? " clip" : " clips", " of ",
                 c.data.frames, " x ", c.data.height, " x ", c.data.width, " (", tokens_of_clip(c),
                 " tokens each, ", text_tokens(c), " of text), ", name_of(c.numerics.dtype), ", ",
                 b.mesh.replicate, " x ", b.mesh.shard, " x ", b.mesh.context,
                 " (replicate x shard x context), policy ", name_of(c.memory.policy), "\n",
                 b.recompute.empty() ? "" : b.recompute + "\n");
}

std::string speed_part(const TrainBench& b, const Expected& expected, const Rates& r) {
  const auto [least, most] = std::minmax_element(b.step_ms.begin(), b.step_ms.end());
  const DiTConfig net = dit_config(b.config);
  std::string text = line("step, median", fixed(b.median_ms(), 2), "ms",
                          text_of("of ", b.step_ms.size(), " steps, slowest rank, device idle at both ends"));
  text += line("step, least and most", fixed(*least, 2) + " " + fixed(*most, 2), "ms");
  if (expected.ceilings) {
    const double peak = expected.ceilings->peak_tflops;
    text +=
        line("MFU", fixed(100 * r.mfu, 2), "%",
             text_of(1e-12 * r.model_flops, " TFLOP / (", b.mesh.size(), " x ", peak, " TFLOP/s x step)"));
    text += text_of("      model FLOPs: 3 x ", net.num_blocks, " blocks x (", 12 + 4 * net.mlp_ratio,
                    " d^2 + 4 S d + 4 x ", text_tokens(b.config), " d) x S x ", b.config.train.batch,
                    " clips, d = ", net.model_channels, ", S = ", tokens_of_clip(b.config), "\n");
    if (!b.rows.empty())
      text += line("HFU", fixed(100 * r.hfu, 2), "%",
                   text_of(1e-12 * r.operation_flops,
                           " TFLOP of products and attention that ran on rank 0, recompute too; "
                           "attention's backward as 2.5 forwards"));
  }
  text += line("tokens", fixed(1e3 * r.tokens / b.median_ms(), 0), "1/s", "all ranks");
  text += line("loss", fixed(b.loss, 5), "");
  if (!b.rows.empty())
    text += line("exposed communication", fixed(r.waiting, 2), "ms",
                 "of a profiled step, rank 0: time that its stream stood at waits for collectives");
  return text;
}

double metric(const Metrics& metrics, const std::string& name) {
  const auto found =
      std::find_if(metrics.begin(), metrics.end(), [&](const auto& m) { return m.first == name; });
  return found == metrics.end() ? 0 : found->second;
}

std::string memory_part(const TrainBench& b, const Expected& expected) {
  std::string text =
      text_of("\npeak memory of the fullest rank (", metric(b.memory, "memory.rank"),
              ") in the timed steps\n  ", left("", 26), right("measured", 12), right("planned", 12), "\n");
  const auto row = [&](const std::string& name, double measured_mib, std::optional<double> planned) {
    text += "  " + left(name, 26) + right(fixed(measured_mib / kMibPerGib, 3), 12) +
            right(planned ? fixed(*planned / kGib, 3) : "-", 12) + " GiB\n";
  };
  const auto planned = [&](MemoryUse use) {
    return expected.plan ? std::optional(static_cast<double>(expected.plan->memory[use])) : std::nullopt;
  };
  for (size_t i = 0; i + 1 < kNumMemoryUses; ++i) {
    const auto use = static_cast<MemoryUse>(i);
    const std::string name(name_of(use));
    row(name, metric(b.memory, "memory." + name + "_mib"), planned(use));
  }
  row("all tensors", metric(b.memory, "memory.total_mib"),
      expected.plan ? std::optional(static_cast<double>(expected.plan->memory.total())) : std::nullopt);
  if (b.config.numerics.device == Device::cpu) return text;
  row("held by the allocator", b.reserved_mib,
      expected.plan
          ? std::optional(static_cast<double>(expected.plan->memory.total()) + expected.plan->fragmentation)
          : std::nullopt);
  row("  growth in timed steps", b.reserved_growth_mib, {});
  return text;
}

std::string products_part(const kernels::cuda::Products& products) {
  if (products.runs + products.refused == 0) return "";  // on a CPU
  std::string text = text_of("\nproducts of matrices by cuBLASLt on rank 0: ", products.runs,
                             ", by ATen: ", products.refused,
                             products.refused > 0 ? " (last: " + products.last_refusal + ")" : "", "\n");
  if (products.timed.empty()) return text;
  text +=
      text_of(left("  m x k x n", 26), left("lie", 5), left("type", 10), right("tried", 6),
              right("first ms", 11), right("TFLOP/s", 9), right("best ms", 11), right("TFLOP/s", 9), "\n");
  for (const auto& p : products.timed) {
    const auto figures = [&](double ms) {
      return right(fixed(ms, 4), 11) + right(fixed(1e-9 * p.flops() / ms, 1), 9);
    };
    text += text_of(left(text_of("  ", p.m, " x ", p.k, " x ", p.n), 26), left(p.layout, 5),
                    left(c10::toString(p.type), 10), right(std::to_string(p.tried), 6), figures(p.first_ms),
                    figures(p.best_ms), "\n");
  }
  return text;
}

nlohmann::ordered_json products_json(const kernels::cuda::Products& products) {
  nlohmann::ordered_json timed = nlohmann::ordered_json::array();
  for (const auto& p : products.timed)
    timed.push_back({{"m", p.m},
                     {"k", p.k},
                     {"n", p.n},
                     {"layout", p.layout},
                     {"type", c10::toString(p.type)},
                     {"tried", p.tried},
                     {"first_ms", p.first_ms},
                     {"best_ms", p.best_ms}});
  return {{"runs", products.runs}, {"refused", products.refused}, {"timed", timed}};
}

}  // namespace

std::string describe(const TrainBench& b, const Expected& expected, int64_t rows) {
  return work_part(b) + speed_part(b, expected, rates_of(b, expected)) + memory_part(b, expected) +
         (b.rows.empty() ? ""
                         : time_table(b.rows, text_of("step (", fixed(b.profiled_ms, 2), " ms)"), rows)) +
         (b.config.numerics.tune ? products_part(b.products) : "") +
         (expected.plan ? text_of("\nplanned: ", fixed(1e3 * expected.plan->step_s, 2), " ms a step, ",
                                  fixed(100 * expected.plan->mfu, 2), " % MFU by the plan's count, ",
                                  fixed(1e3 * expected.plan->exposed_s, 2), " ms exposed\n")
                        : "");
}

std::string json_of(const TrainBench& b, const Expected& expected) {
  const Rates r = rates_of(b, expected);
  nlohmann::ordered_json json = {
      {"preset", b.config.model.preset},
      {"frames", b.config.data.frames},
      {"height", b.config.data.height},
      {"width", b.config.data.width},
      {"clips", b.config.train.batch},
      {"tokens_of_clip", tokens_of_clip(b.config)},
      {"dtype", name_of(b.config.numerics.dtype)},
      {"device", name_of(b.config.numerics.device)},
      {"replicate", b.mesh.replicate},
      {"shard", b.mesh.shard},
      {"context", b.mesh.context},
      {"policy", name_of(b.config.memory.policy)},
      {"micro_batch", b.config.train.micro_batch},
      {"step_ms", b.step_ms},
      {"median_ms", b.median_ms()},
      {"loss", b.loss},
      {"model_flops", r.model_flops},
      {"tokens_per_s", 1e3 * r.tokens / b.median_ms()},
      {"memory", nlohmann::ordered_json(std::map<std::string, double>(b.memory.begin(), b.memory.end()))},
      {"reserved_mib", b.reserved_mib},
      {"reserved_growth_mib", b.reserved_growth_mib}};
  if (expected.ceilings) {
    json["peak_tflops"] = expected.ceilings->peak_tflops;
    json["mfu"] = r.mfu;
  }
  if (!b.rows.empty()) {
    if (expected.ceilings) json["hfu"] = r.hfu;
    json["operation_flops"] = r.operation_flops;
    json["exposed_ms"] = r.waiting;
    json["profiled_ms"] = b.profiled_ms;
    json["rows"] = json_of(b.rows);
  }
  if (expected.plan) {
    json["planned_bytes"] = expected.plan->memory.total();
    json["planned_ms"] = 1e3 * expected.plan->step_s;
  }
  if (b.config.numerics.tune) json["products"] = products_json(b.products);
  return json.dump();
}

}  // namespace orrery
