#include "autograd/recompute_search.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <limits>
#include <map>
#include <numeric>
#include <tuple>

#include "base/error.h"

namespace orrery {
namespace {

// Which labels are kept, by index into Simulator::labels.
using Kept = std::vector<char>;

// Follows the first reads of a unit's backward. An op runs again at most once, whatever the order of reads:
// all its outputs come back together and stay until backward has passed the op. So one walk from the last op
// to the first finds them all.
class Simulator {
 public:
  explicit Simulator(const UnitTrace& unit) : unit_(unit), made_by_(unit.values.size()) {
    for (size_t i = 0; i < unit.ops.size(); ++i) {
      const auto [at, is_new] = index_.emplace(unit.ops[i].label, labels.size());
      if (is_new) labels.push_back(unit.ops[i].label);
      label_of_.push_back(at->second);
      for (const size_t value : unit.ops[i].outputs) made_by_[value] = i;
    }
    first_reads_.assign(unit.ops.size(), 0);
    for (const TracedOp& op : unit.ops) need(op.reads, first_reads_);
  }

  RecomputeCost cost(const Kept& kept) const {
    RecomputeCost cost;
    needed_ = first_reads_;
    held_.assign(unit_.storage_bytes.size(), 0);
    for (size_t i = unit_.ops.size(); i-- > 0;) {
      const TracedOp& op = unit_.ops[i];
      const bool is_kept = kept[label_of_[i]] != 0;
      for (const size_t value : op.outputs)
        if (is_kept || unit_.values[value].is_result) hold(unit_.values[value]);
      if (is_kept || !needed_[i]) continue;
      need(op.inputs, needed_);
      cost.seconds += op.seconds;
      ++cost.ops;
    }
    for (size_t s = 0; s < held_.size(); ++s)
      (held_[s] ? cost.kept_bytes : cost.work_bytes) += unit_.storage_bytes[s];
    return cost;
  }

  // The bytes that a label's ops make and the seconds that they take, each as a part of the unit's. 0: they
  // make nothing but views, and keeping those never pays.
  std::vector<double> weights() const {
    const auto& bytes = unit_.storage_bytes;
    const auto total = static_cast<double>(std::accumulate(bytes.begin(), bytes.end(), int64_t{1}));
    const double seconds = std::max(unit_.forward_seconds(), 1e-30);
    std::vector<double> weights(labels.size());
    std::vector<char> seen(bytes.size());
    for (size_t i = 0; i < unit_.ops.size(); ++i) {
      double made = 0;
      for (const size_t value : unit_.ops[i].outputs) {
        const size_t s = unit_.values[value].storage;
        if (s == TracedValue::kOutside || seen[s]) continue;
        seen[s] = 1;
        made += static_cast<double>(bytes[s]);
      }
      if (made > 0) weights[label_of_[i]] += made / total + unit_.ops[i].seconds / seconds;
    }
    return weights;
  }

  std::vector<std::string> names(const Kept& kept) const {
    std::vector<std::string> names;
    for (size_t i = 0; i < labels.size(); ++i)
      if (kept[i]) names.push_back(labels[i]);
    return names;
  }

  std::vector<std::string> labels;  // distinct, in order of first use

 private:
  // The makers of these values must run again, unless they keep them.
  void need(const std::vector<size_t>& values, std::vector<char>& makers) const {
    for (const size_t value : values)
      if (!unit_.values[value].is_result) makers[made_by_[value]] = 1;
  }
  void hold(const TracedValue& value) const {
    if (value.storage != TracedValue::kOutside) held_[value.storage] = 1;
  }

  const UnitTrace& unit_;
  std::map<std::string, size_t> index_;
  std::vector<size_t> label_of_, made_by_;
  std::vector<char> first_reads_;
  mutable std::vector<char> needed_, held_;  // scratch
};

struct Candidate {
  Kept kept;
  RecomputeCost cost;
};

// Drops each candidate that another one beats or equals in all three of kept_bytes, seconds and work_bytes.
std::vector<Candidate> front_of(std::vector<Candidate> all) {
  const auto key = [](const Candidate& c) {
    return std::tuple(c.cost.kept_bytes, c.cost.seconds, c.cost.work_bytes);
  };
  std::stable_sort(all.begin(), all.end(), [&](const auto& a, const auto& b) { return key(a) < key(b); });
  std::vector<Candidate> front;
  std::map<double, int64_t> stairs;  // seconds -> work_bytes of those so far: falling, where seconds rise
  for (Candidate& c : all) {
    auto next = stairs.upper_bound(c.cost.seconds);
    if (next != stairs.begin() && std::prev(next)->second <= c.cost.work_bytes) continue;
    while (next != stairs.end() && next->second >= c.cost.work_bytes) next = stairs.erase(next);
    stairs[c.cost.seconds] = c.cost.work_bytes;
    front.push_back(std::move(c));
  }
  return front;
}

// Labels by falling weight, without those of weight 0.
std::vector<size_t> by_weight(const Simulator& simulator) {
  const std::vector<double> weights = simulator.weights();
  std::vector<size_t> order;
  for (size_t i = 0; i < weights.size(); ++i)
    if (weights[i] > 0) order.push_back(i);
  std::stable_sort(order.begin(), order.end(), [&](size_t a, size_t b) { return weights[a] > weights[b]; });
  return order;
}

std::vector<Candidate> all_subsets(const Simulator& simulator, const std::vector<size_t>& labels) {
  std::vector<Candidate> all;
  Kept kept(simulator.labels.size());
  for (uint64_t mask = 0; mask < uint64_t{1} << labels.size(); ++mask) {
    for (size_t bit = 0; bit < labels.size(); ++bit) kept[labels[bit]] = (mask >> bit & 1) != 0;
    all.push_back({kept, simulator.cost(kept)});
  }
  return all;
}

// The candidate with the first one of the light labels, with the first two, and so on, in order of the
// seconds that each alone saves a byte.
void add_light(const Simulator& simulator, const Candidate& from, const std::vector<size_t>& light,
               std::vector<Candidate>& into) {
  std::vector<std::pair<double, size_t>> order;
  Kept kept = from.kept;
  for (const size_t label : light) {
    kept[label] = 1;
    const RecomputeCost with = simulator.cost(kept);
    kept[label] = 0;
    const double saved = from.cost.seconds - with.seconds;
    const int64_t bytes = std::max<int64_t>(with.kept_bytes - from.cost.kept_bytes, 1);
    if (saved > 0) order.emplace_back(-saved / static_cast<double>(bytes), label);
  }
  std::sort(order.begin(), order.end());
  for (const auto& [ratio, label] : order) {
    kept[label] = 1;
    into.push_back({kept, simulator.cost(kept)});
  }
}

// Most bytes at one time when num_less units keep less and num_more, which come later, keep more: at the last
// unit of either sort.
int64_t peak_of(const RecomputeCost& less, int64_t num_less, const RecomputeCost& more, int64_t num_more) {
  const int64_t kept = num_less * less.kept_bytes;
  const int64_t late = num_more > 0 ? kept + num_more * more.kept_bytes + more.work_bytes : 0;
  return std::max(late, num_less > 0 ? kept + less.work_bytes : 0);
}

// The splits of which one is best for this pair: none of the second sort; the most that the budget lets keep
// more; and, for sets that keep more to run longer with less work, the fewest that relieve the others.
std::array<int64_t, 3> splits_of(const RecomputeCost& less, const RecomputeCost& more, int64_t num_units,
                                 int64_t budget) {
  const int64_t step = std::max<int64_t>(more.kept_bytes - less.kept_bytes, 1);
  const int64_t most = (budget - more.work_bytes - num_units * less.kept_bytes) / step;
  const int64_t others = (budget - less.work_bytes) / std::max<int64_t>(less.kept_bytes, 1);
  const auto inside = [&](int64_t num_more) { return std::clamp<int64_t>(num_more, 0, num_units - 1); };
  return {0, inside(most), inside(num_units - others)};
}

double gib(int64_t bytes) {
  return static_cast<double>(bytes) / (1 << 30);
}

[[noreturn]] void refuse(const std::vector<KeptSet>& sets, int64_t num_units, int64_t budget) {
  const RecomputeCost& full = sets[0].cost;
  int64_t least = peak_of(full, num_units, full, 0);
  for (const KeptSet& more : sets)  // no pair needs less than one with the set that keeps least
    for (int64_t num_more = 1; num_more < num_units; ++num_more)
      least = std::min(least, peak_of(full, num_units - num_more, more.cost, num_more));
  throw Error(
      text_of("no set of kept activations fits: with full recompute each of ", num_units, " blocks keeps ",
              gib(full.kept_bytes), " GiB and the one at work ", gib(full.work_bytes),
              " GiB more; the least of all needs ", gib(least), " GiB, and ", gib(budget),
              " GiB are left for activations. What helps: a smaller train.micro_batch, more ranks for a clip "
              "(parallel.context) or for the weights (parallel.shard), shorter or smaller clips, or a larger "
              "memory.limit_gib where the device has more"),
      Exit::out_of_memory);
}

}  // namespace

RecomputeCost cost_without_recompute(const UnitTrace& unit) {
  std::vector<char> kept(unit.storage_bytes.size());
  const auto keep = [&](const TracedValue& value) {
    if (value.storage != TracedValue::kOutside) kept[value.storage] = 1;
  };
  for (const TracedOp& op : unit.ops)
    for (const size_t value : op.reads) keep(unit.values[value]);
  for (const TracedValue& value : unit.values)
    if (value.is_result) keep(value);
  RecomputeCost cost;
  for (size_t s = 0; s < kept.size(); ++s) cost.kept_bytes += kept[s] ? unit.storage_bytes[s] : 0;
  return cost;
}

RecomputeCost cost_under(const UnitTrace& unit, const SavePolicy& policy) {
  const Simulator simulator(unit);
  const std::string prefix = unit.path.empty() ? "" : unit.path + ".";
  Kept kept;
  for (const std::string& label : simulator.labels) kept.push_back(policy.keeps(prefix + label));
  return simulator.cost(kept);
}

std::vector<KeptSet> best_sets(const UnitTrace& unit) {
  const Simulator simulator(unit);
  std::vector<size_t> heavy = by_weight(simulator), light;
  if (heavy.size() > kExactLabels) {
    light.assign(heavy.begin() + kExactLabels, heavy.end());
    heavy.resize(kExactLabels);
  }
  const std::vector<Candidate> exact = front_of(all_subsets(simulator, heavy));
  std::vector<Candidate> all = {
      {{}, cost_without_recompute(unit)}};  // first: wins where another costs the same
  for (const Candidate& c : exact) {
    all.push_back(c);
    add_light(simulator, c, light, all);
  }
  std::vector<KeptSet> sets;
  for (const Candidate& c : front_of(std::move(all))) {
    const bool is_unit = !c.kept.empty();
    sets.push_back({is_unit, is_unit ? simulator.names(c.kept) : std::vector<std::string>{}, c.cost});
  }
  return sets;
}

RecomputeChoice choose_recompute(const std::vector<KeptSet>& sets, int64_t num_units, int64_t budget_bytes) {
  require(!sets.empty() && num_units > 0, "recompute: ", sets.size(), " sets to choose from for ", num_units,
          " units");
  std::tuple<double, int64_t, size_t, size_t, int64_t> best{std::numeric_limits<double>::infinity(), 0, 0, 0,
                                                            0};  // seconds, peak, less, more, how many more
  for (size_t l = 0; l < sets.size(); ++l)
    for (size_t m = l; m < sets.size(); ++m) {
      const RecomputeCost &less = sets[l].cost, &more = sets[m].cost;
      const auto seconds = [&](int64_t num_more) {
        return static_cast<double>(num_units - num_more) * less.seconds +
               static_cast<double>(num_more) * more.seconds;
      };
      if (std::min(seconds(0), seconds(num_units)) > std::get<0>(best)) continue;
      for (const int64_t num_more : splits_of(less, more, num_units, budget_bytes)) {
        const int64_t peak = peak_of(less, num_units - num_more, more, num_more);
        if (peak <= budget_bytes) best = std::min(best, std::tuple(seconds(num_more), peak, l, m, num_more));
      }
    }
  const auto& [seconds, peak, l, m, num_more] = best;
  if (std::isinf(seconds)) refuse(sets, num_units, budget_bytes);
  return {.less = sets[l],
          .more = sets[m],
          .num_less = num_units - num_more,
          .num_more = num_more,
          .peak_bytes = peak,
          .seconds = seconds};
}

}  // namespace orrery
