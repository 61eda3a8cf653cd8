#include "plan/report.h"

#include <algorithm>
#include <functional>
#include <nlohmann/json.hpp>

#include "base/columns.h"
#include "base/error.h"

namespace orrery {
namespace {

constexpr double kGiB = 1 << 30;
constexpr size_t kLargest = 12;  // lines of kept activations, of ops; the rest is summed up

std::string gib(double bytes) {
  return fixed(bytes / kGiB, 2);
}
std::string line(const std::string& name, const std::string& value, const std::string& unit) {
  return "  " + left(name, 44) + right(value, 12) + " " + unit + "\n";
}

std::string memory_part(const PlanReport& r) {
  struct Moment {
    const char* name;
    const MemoryUsage& usage;
  };
  std::vector<Moment> moments = {{"in forward and backward", r.memory}};
  if (r.encoding.total() > 0) moments.push_back({"encoding films and prompts", r.encoding});
  if (r.sampling.total() > 0) moments.push_back({"encoding and decoding samples", r.sampling});
  const bool is_one_of_many = moments.size() > 1;
  std::string text = "memory of a rank when it is fullest";
  for (const Moment& moment : moments)
    if (is_one_of_many && &moment.usage == &r.fullest()) text += text_of(", ", moment.name);
  text += "\n";
  for (size_t i = 0; i + 1 < kNumMemoryUses; ++i) {
    const auto use = static_cast<MemoryUse>(i);
    text += line(std::string(name_of(use)), gib(static_cast<double>(r.fullest()[use])), "GiB");
  }
  for (const Moment& moment : moments)
    if (&moment.usage != &r.fullest())
      text +=
          line(text_of("(tensors ", moment.name, ")"), gib(static_cast<double>(moment.usage.total())), "GiB");
  text += line("driver and libraries", gib(r.reserved), "GiB");
  text += line("fragmentation", gib(r.fragmentation), "GiB");
  return text + line("all, of " + gib(r.limit) + " GiB", gib(r.total()), "GiB");
}

// The largest of them in falling order, and the sum of the others.
std::string largest_part(const std::string& title, const std::map<std::string, double>& values,
                         const std::function<std::string(double)>& show, const std::string& unit) {
  std::vector<std::pair<std::string, double>> rows(values.begin(), values.end());
  std::stable_sort(rows.begin(), rows.end(),
                   [](const auto& a, const auto& b) { return a.second > b.second; });
  std::string text = title + "\n";
  double rest = 0;
  for (size_t i = 0; i < rows.size(); ++i) {
    if (i < kLargest)
      text += line(rows[i].first, show(rows[i].second), unit);
    else
      rest += rows[i].second;
  }
  return rest > 0 ? text + line("others", show(rest), unit) : text;
}

std::string kept_part(const PlanReport& r) {
  return largest_part("activations kept for backward, by label", r.kept, gib, "GiB");
}

std::string op_part(const PlanReport& r) {
  return largest_part(
      "forward, recompute and backward of a step, by op", r.op_s,
      [](double seconds) { return fixed(1e3 * seconds, 1); }, "ms");
}

std::string traffic_part(const PlanReport& r) {
  std::string text = "collectives of a step\n";
  for (const PlannedTraffic& t : r.traffic)
    text += "  " + left(t.what, 15) + left(t.group, 26) + right(text_of(t.ranks), 5) +
            (t.ranks == 1 ? " rank " : " ranks") + right(text_of(t.nodes), 4) +
            (t.nodes == 1 ? " node " : " nodes") + right(fixed(t.calls, 0), 7) + " calls" +
            right(gib(t.bytes), 10) + " GiB" + right(fixed(t.seconds, 3), 9) + " s\n";
  return r.traffic.empty() ? text + "  none\n" : text;
}

std::string time_part(const PlanReport& r) {
  std::string text = "time of a step\n";
  text += line("forward", fixed(r.forward_s, 3), "s");
  text += line("recompute", fixed(r.recompute_s, 3), "s");
  text += line("backward", fixed(r.backward_s, 3), "s");
  text += line("communication that nothing hides", fixed(r.exposed_s, 3), "s");
  text += line("packing of weights and gradients", fixed(r.copy_s, 3), "s");
  text += line("update of the weights", fixed(r.update_s, 3), "s");
  text += line("all", fixed(r.step_s, 3), "s");
  text += line("clips, all ranks", fixed(r.clips_per_s, 3), "1/s");
  text += line("FLOPs of a clip, forward", fixed(1e-12 * r.clip_flops, 3), "TFLOP");
  text += line("  of the operations that ran", fixed(1e-12 * r.counted_clip_flops, 3), "TFLOP");
  return text + line("MFU (3 x forward, of the peak)", fixed(100 * r.mfu, 2), "%");
}

// Clips of a micro-batch; "each": its gradients travel by themselves.
std::string micro_of(const PlanReport& r) {
  const int64_t size =
      r.config.train.micro_batch > 0 ? std::min(r.config.train.micro_batch, r.clips) : r.clips;
  return text_of(size, size < r.clips && r.config.parallel.reduce_each_micro_batch ? ", each" : "");
}

nlohmann::ordered_json json_of(const PlanReport& r) {
  nlohmann::ordered_json memory, kept(r.kept), traffic = nlohmann::ordered_json::array();
  for (size_t i = 0; i + 1 < kNumMemoryUses; ++i)
    memory[std::string(name_of(static_cast<MemoryUse>(i)))] = r.fullest().bytes[i];
  memory["reserved"] = r.reserved;
  memory["fragmentation"] = r.fragmentation;
  for (const PlannedTraffic& t : r.traffic)
    traffic.push_back({{"what", t.what},
                       {"group", t.group},
                       {"ranks", t.ranks},
                       {"nodes", t.nodes},
                       {"calls", t.calls},
                       {"bytes", t.bytes},
                       {"seconds", t.seconds}});
  return {{"replicate", r.mesh.replicate},
          {"shard", r.mesh.shard},
          {"context", r.mesh.context},
          {"policy", name_of(r.config.memory.policy)},
          {"micro_batch", r.config.train.micro_batch},
          {"reduce_each_micro_batch", r.config.parallel.reduce_each_micro_batch},
          {"clips_per_group", r.clips},
          {"fits", r.fits()},
          {"total_bytes", r.total()},
          {"limit_bytes", r.limit},
          {"memory_bytes", memory},
          {"step_bytes", r.memory.total()},
          {"encoding_bytes", r.encoding.total()},
          {"sampling_bytes", r.sampling.total()},
          {"kept_bytes", kept},
          {"step_s", r.step_s},
          {"forward_s", r.forward_s},
          {"recompute_s", r.recompute_s},
          {"backward_s", r.backward_s},
          {"exposed_s", r.exposed_s},
          {"copy_s", r.copy_s},
          {"update_s", r.update_s},
          {"op_s", nlohmann::ordered_json(r.op_s)},
          {"recompute", r.recompute},
          {"clip_flops", r.clip_flops},
          {"counted_clip_flops", r.counted_clip_flops},
          {"mfu", r.mfu},
          {"clips_per_s", r.clips_per_s},
          {"traffic", traffic}};
}

}  // namespace

std::string describe_layout(const PlanReport& r) {
  return text_of(
      r.mesh.replicate, " x ", r.mesh.shard, " x ", r.mesh.context, " (replicate x shard x context), policy ",
      name_of(r.config.memory.policy), ", ", r.clips, r.clips == 1 ? " clip" : " clips", " a group",
      r.config.train.micro_batch > 0 ? text_of(" in micro-batches of ", r.config.train.micro_batch) : "",
      r.config.parallel.reduce_each_micro_batch ? ", gradients reduced after each" : "");
}

std::string one_line(const PlanReport& r) {
  return text_of(r.fits() ? "fits: " : "does not fit: ", gib(r.total()), " of ", gib(r.limit),
                 " GiB a rank; ", fixed(r.step_s, 3), " s a step, ", fixed(100 * r.mfu, 2), " % MFU");
}

std::string describe(const PlanReport& r, const Ceilings& ceilings) {
  std::string estimates;
  for (const std::string& key : ceilings.estimates) estimates += (estimates.empty() ? "" : ", ") + key;
  return text_of(r.mesh.size(), r.mesh.size() == 1 ? " rank: " : " ranks: ", describe_layout(r), "\non ",
                 ceilings.name, estimates.empty() ? "" : "; estimated, not measured: " + estimates, "\n\n",
                 memory_part(r), "\n", kept_part(r), "\n", traffic_part(r), "\n", time_part(r), "\n",
                 op_part(r), "\n", r.recompute.empty() ? "" : r.recompute + "\n", one_line(r), "\n");
}

std::string table_of(const std::vector<PlanReport>& reports, size_t most) {
  std::string text =
      " ranks  replicate x shard x context  micro     policy                          GiB    step s   MFU %  "
      "exposed %   clips/s\n";
  for (size_t i = 0; i < std::min(most, reports.size()); ++i) {
    const PlanReport& r = reports[i];
    const std::string mesh = text_of(r.mesh.replicate, " x ", r.mesh.shard, " x ", r.mesh.context);
    text += right(text_of(r.mesh.size()), 6) + "  " + left(mesh, 29) + left(micro_of(r), 10) +
            left(std::string(name_of(r.config.memory.policy)), 29) + right(fixed(r.total() / kGiB, 1), 6) +
            right(fixed(r.step_s, 3), 10) + right(fixed(100 * r.mfu, 2), 8) +
            right(fixed(100 * r.exposed_s / r.step_s, 1), 11) + right(fixed(r.clips_per_s, 3), 10) + "\n";
  }
  return text;
}

std::string json_of(const std::vector<PlanReport>& reports, const Ceilings& ceilings) {
  nlohmann::ordered_json plans = nlohmann::ordered_json::array();
  for (const PlanReport& r : reports) plans.push_back(json_of(r));
  const nlohmann::ordered_json all = {
      {"ceilings", ceilings.name}, {"estimates", ceilings.estimates}, {"plans", plans}};
  return all.dump(2);
}

}  // namespace orrery
