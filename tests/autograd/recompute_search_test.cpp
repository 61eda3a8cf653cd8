#include "autograd/recompute_search.h"

#include <gmock/gmock.h>

#include <cmath>
#include <limits>
#include <numeric>

#include "base/error.h"
#include "base/rng.h"

namespace orrery {
namespace {

using testing::ElementsAre;

// A unit op by op: each makes one value with a storage of its own and reads its inputs, unless told
// otherwise.
struct Maker {
  // Returns the value's index.
  size_t op(const std::string& label, double seconds, int64_t bytes, std::vector<size_t> inputs,
            std::vector<size_t> reads) {
    const size_t value = unit.values.size();
    unit.values.push_back({unit.storage_bytes.size()});
    unit.storage_bytes.push_back(bytes);
    TracedOp op;
    op.label = label;
    op.inputs = std::move(inputs);
    op.outputs = {value};
    op.reads = std::move(reads);
    op.seconds = seconds;
    unit.ops.push_back(op);
    return value;
  }
  size_t op(const std::string& label, double seconds, int64_t bytes, const std::vector<size_t>& inputs) {
    return op(label, seconds, bytes, inputs, inputs);
  }
  // Another value on the same storage, made in no time; backward reads nothing.
  size_t view(const std::string& label, size_t base) {
    const size_t value = op(label, 0, 0, {base}, {});
    unit.values[value].storage = unit.values[base].storage;
    unit.storage_bytes.pop_back();
    return value;
  }
  UnitTrace finish() {
    unit.values.back().is_result = true;
    unit.path = "unit";
    return unit;
  }
  UnitTrace unit;
};

void expect_cost(const RecomputeCost& c, int64_t kept, int64_t work, int64_t ops, double seconds) {
  EXPECT_EQ(c.kept_bytes, kept);
  EXPECT_EQ(c.work_bytes, work);
  EXPECT_EQ(c.ops, ops);
  EXPECT_DOUBLE_EQ(c.seconds, seconds);
}

// in -> a -> b -> c -> result, where c's backward reads b, and b's nothing.
UnitTrace chain() {
  Maker m;
  const size_t a = m.op("a", 1, 10, {}), b = m.op("b", 2, 20, {a}, {}), c = m.op("c", 4, 40, {b});
  m.op("out", 8, 80, {c}, {});
  return m.finish();
}

TEST(RecomputeCost, follows_first_reads_through_evicted_inputs) {
  const UnitTrace unit = chain();
  expect_cost(cost_under(unit, SavePolicy({})), 80, 70, 2, 3);              // b, and a to make it
  expect_cost(cost_under(unit, SavePolicy({"unit.a"})), 90, 60, 1, 2);      // b from a
  expect_cost(cost_under(unit, SavePolicy({"unit.b"})), 100, 50, 0, 0);     // nothing reads a
  expect_cost(cost_under(unit, SavePolicy({"unit.c"})), 120, 30, 2, 3);     // kept for nothing
  expect_cost(cost_under(unit, SavePolicy({"*"})), 150, 0, 0, 0);           // a unit keeps what it is told
  expect_cost(cost_without_recompute(unit), 100, 0, 0, 0);                  // no unit: what is read
  expect_cost(cost_under(unit, SavePolicy({"a", "*.b.x"})), 80, 70, 2, 3);  // labels have the unit's path
}

TEST(RecomputeCost, counts_a_storage_once_and_views_of_the_outside_not_at_all) {
  Maker m;
  const size_t a = m.op("a", 1, 10, {}), view = m.view("view", a);
  m.op("b", 2, 20, {view, a});
  const size_t outside = m.view("outside", a);
  m.unit.values[outside].storage = TracedValue::kOutside;
  m.op("out", 4, 40, {outside});
  const UnitTrace unit = m.finish();
  expect_cost(cost_under(unit, SavePolicy({"*.a", "*.view"})), 50, 20, 1, 0);  // the view of the outside
  expect_cost(cost_under(unit, SavePolicy({"*.view"})), 50, 20, 2, 1);         // a again, into kept memory
  expect_cost(cost_under(unit, SavePolicy({})), 40, 30, 3, 1);
  expect_cost(cost_without_recompute(unit), 50, 0, 0, 0);
}

TEST(RecomputeCost, an_op_of_two_outputs_runs_again_once_and_a_result_never_for_itself) {
  Maker m;
  const size_t a = m.op("a", 1, 10, {});
  const size_t b = m.op("b", 2, 20, {a}, {});
  m.unit.values.push_back({m.unit.storage_bytes.size()});  // statistics of b, which its own backward reads
  m.unit.storage_bytes.push_back(5);
  m.unit.ops.back().outputs.push_back(b + 1);
  m.unit.ops.back().reads.push_back(b + 1);
  UnitTrace unit = m.unit;
  unit.path = "unit";
  unit.values[b].is_result = true;
  expect_cost(cost_under(unit, SavePolicy({})), 20, 15, 2, 3);
  expect_cost(cost_under(unit, SavePolicy({"*.b"})), 25, 10, 0, 0);
}

TEST(BestSets, full_recompute_first_no_recompute_last_and_none_that_another_beats) {
  const std::vector<KeptSet> sets = best_sets(chain());
  ASSERT_EQ(sets.size(), 3u);
  EXPECT_THAT(sets[0].labels, ElementsAre());
  EXPECT_THAT(sets[1].labels, ElementsAre("a"));
  expect_cost(sets[2].cost, 100, 0, 0, 0);
}

// A unit of random ops: 1 to 3 earlier inputs, some of them read; sometimes a view, a shared label or the
// outside.
UnitTrace random_unit(uint64_t seed, size_t num_ops) {
  Rng rng(seed, "unit");
  Maker m;
  for (size_t i = 0; i < num_ops; ++i) {
    std::vector<size_t> inputs, reads;
    for (uint64_t k = rng.below(3) + 1; i > 0 && k > 0; --k) {
      inputs.push_back(i - 1 - rng.below(std::min<uint64_t>(i, 4)));
      if (rng.below(2) == 0) reads.push_back(inputs.back());
    }
    const std::string label = "op" + std::to_string(rng.below(5) == 0 ? i / 2 : i);
    if (i > 0 && rng.below(6) == 0) {
      m.view(label, inputs[0]);
    } else {
      const auto bytes = static_cast<int64_t>(rng.below(100) + 1);
      const auto seconds = static_cast<double>(rng.below(100) + 1);
      if (rng.below(4) == 0) reads.push_back(i);  // its own output
      m.op(label, seconds, bytes, inputs, reads);
    }
  }
  return m.finish();
}

// What backward does, by the letter: values come and go, an op that is read runs again.
class Replay {
 public:
  Replay(const UnitTrace& unit, const std::vector<std::string>& keep)
      : unit_(unit), there_(unit.values.size()) {
    for (const TracedOp& op : unit.ops) {
      const bool kept = std::find(keep.begin(), keep.end(), op.label) != keep.end();
      for (const size_t v : op.outputs) there_[v] = kept || unit.values[v].is_result;
    }
    cost.kept_bytes = bytes();
    cost.work_bytes = std::accumulate(unit.storage_bytes.begin(), unit.storage_bytes.end(), -cost.kept_bytes);
    for (size_t i = unit.ops.size(); i-- > 0;)
      for (const size_t v : unit.ops[i].reads) get(v);
  }
  RecomputeCost cost;

 private:
  int64_t bytes() const {
    std::set<size_t> storages;
    for (size_t v = 0; v < there_.size(); ++v)
      if (there_[v]) storages.insert(unit_.values[v].storage);
    int64_t total = 0;
    for (const size_t s : storages) total += unit_.storage_bytes[s];
    return total;
  }
  void get(size_t value) {
    if (there_[value]) return;
    const auto made = [&](const TracedOp& op) {
      return std::find(op.outputs.begin(), op.outputs.end(), value) != op.outputs.end();
    };
    const TracedOp& op = *std::find_if(unit_.ops.begin(), unit_.ops.end(), made);
    for (const size_t input : op.inputs) get(input);
    for (const size_t v : op.outputs) there_[v] = true;
    cost.seconds += op.seconds;
    ++cost.ops;
  }
  const UnitTrace& unit_;
  std::vector<bool> there_;
};

std::vector<KeptSet> every_set(const UnitTrace& unit) {
  std::set<std::string> distinct;
  std::set<size_t> seen;
  for (const TracedOp& op : unit.ops)  // a label of views alone is no candidate
    for (const size_t v : op.outputs)
      if (seen.insert(unit.values[v].storage).second) distinct.insert(op.label);
  const std::vector<std::string> labels(distinct.begin(), distinct.end());
  std::vector<KeptSet> sets = {{false, {}, cost_without_recompute(unit)}};
  for (uint64_t mask = 0; mask < uint64_t{1} << labels.size(); ++mask) {
    KeptSet set;
    for (size_t i = 0; i < labels.size(); ++i)
      if (mask >> i & 1) set.labels.push_back(labels[i]);
    set.cost = Replay(unit, set.labels).cost;
    sets.push_back(set);
  }
  return sets;
}

TEST(BestSets, are_those_of_brute_force_on_random_units) {
  for (uint64_t seed = 0; seed < 40; ++seed) {
    const UnitTrace unit = random_unit(seed, 9);
    const std::vector<KeptSet> best = best_sets(unit), all = every_set(unit);
    const auto no_worse = [](const RecomputeCost& a, const RecomputeCost& b) {
      return a.kept_bytes <= b.kept_bytes && a.seconds <= b.seconds && a.work_bytes <= b.work_bytes;
    };
    for (const KeptSet& set : all)
      EXPECT_TRUE(std::any_of(best.begin(), best.end(), [&](auto& b) { return no_worse(b.cost, set.cost); }))
          << "seed " << seed << ": " << testing::PrintToString(set.labels);
    for (const KeptSet& b : best) {
      if (!b.is_unit) continue;
      const RecomputeCost want = Replay(unit, b.labels).cost;
      expect_cost(b.cost, want.kept_bytes, want.work_bytes, want.ops, want.seconds);
    }
  }
}

TEST(ChooseRecompute, takes_the_least_seconds_of_all_pairs_and_splits_that_fit) {
  constexpr int64_t kUnits = 4;
  for (uint64_t seed = 0; seed < 12; ++seed) {
    const UnitTrace unit = random_unit(seed, 6);
    const std::vector<KeptSet> all = every_set(unit), best = best_sets(unit);
    for (int64_t budget = 0; budget < 2000; budget += 37) {
      double want = std::numeric_limits<double>::infinity();
      for (const KeptSet& less : all)
        for (const KeptSet& more : all)
          for (int64_t k = 0; k <= kUnits; ++k) {
            // Forward to the last unit; backward is the same the other way round.
            int64_t peak = 0, kept = 0;
            for (int64_t i = 0; i < kUnits; ++i) {
              const RecomputeCost& c = i < kUnits - k ? less.cost : more.cost;
              kept += c.kept_bytes;
              peak = std::max(peak, kept + c.work_bytes);
            }
            const double seconds = static_cast<double>(kUnits - k) * less.cost.seconds +
                                   static_cast<double>(k) * more.cost.seconds;
            if (peak <= budget) want = std::min(want, seconds);
          }
      if (std::isinf(want)) {
        EXPECT_THROW(choose_recompute(best, kUnits, budget), Error);
      } else {
        const RecomputeChoice choice = choose_recompute(best, kUnits, budget);
        EXPECT_DOUBLE_EQ(choice.seconds, want) << "seed " << seed << ", budget " << budget;
        EXPECT_LE(choice.peak_bytes, budget);
      }
    }
  }
}

TEST(ChooseRecompute, uses_up_the_budget_over_the_units) {
  const std::vector<KeptSet> sets = best_sets(chain());
  const RecomputeChoice all = choose_recompute(sets, 10, 1000), some = choose_recompute(sets, 10, 930);
  EXPECT_FALSE(all.set_of(0).is_unit);
  EXPECT_EQ(all.seconds, 0);
  EXPECT_EQ(some.num_less + some.num_more, 10);
  EXPECT_GT(some.num_more, 0);
  EXPECT_LE(some.peak_bytes, 930);
  EXPECT_GT(some.set_of(9).cost.kept_bytes, some.set_of(0).cost.kept_bytes);
}

TEST(ChooseRecompute, says_what_is_missing_when_nothing_fits) {
  try {
    choose_recompute(best_sets(chain()), 10, 819);
    ADD_FAILURE() << "fitted";
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), Exit::out_of_memory);
    EXPECT_THAT(error.what(), testing::HasSubstr("train.micro_batch"));
  }
  // Results of 80 for nine units, and all 100 of the last, which is no unit; before it one works with 70
  // more.
  EXPECT_EQ(choose_recompute(best_sets(chain()), 10, 820).peak_bytes, 820);
}

TEST(BestSets, a_unit_of_many_labels_is_searched_in_part_and_never_wrongly_reckoned) {
  const UnitTrace unit = random_unit(5, 60);
  const std::vector<KeptSet> sets = best_sets(unit);
  EXPECT_EQ(sets.back().cost.seconds, 0);
  EXPECT_LE(sets.front().cost.kept_bytes, cost_under(unit, SavePolicy({})).kept_bytes);
  for (size_t i = 0; i < sets.size(); i += 10) {
    if (!sets[i].is_unit) continue;
    const RecomputeCost want = Replay(unit, sets[i].labels).cost;
    expect_cost(sets[i].cost, want.kept_bytes, want.work_bytes, want.ops, want.seconds);
  }
}

}  // namespace
}  // namespace orrery
