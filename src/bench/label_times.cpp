#include "bench/label_times.h"

#include <algorithm>

#include "plan/cost.h"

namespace orrery {
namespace {

constexpr const char* kWait = "wait";

std::string phase_name(OpPhase phase) {
  switch (phase) {
    case OpPhase::forward:
      return "forward";
    case OpPhase::recompute:
      return "recompute";
    case OpPhase::backward:
      return "backward";
  }
  return {};
}

}  // namespace

std::string LabelTimes::name_of(const std::string& label) const {
  return keeps_numbers_ ? label : without_numbers(label);
}

size_t LabelTimes::row(const std::string& label, const std::string& phase) {
  const auto [found, is_new] = index_.try_emplace({label, phase}, rows_.size());
  if (is_new) rows_.push_back({.label = label, .phase = phase});
  return found->second;
}

void LabelTimes::mark() {
  timeline_.mark();
  owners_.push_back(open_.back());
}

void LabelTimes::begin(const std::string& section) {
  open_ = {row(section, "")};
  timeline_.mark();
}

void LabelTimes::section(const std::string& name) {
  mark();
  open_ = {row(name, "")};
}

void LabelTimes::end() {
  mark();
  const std::vector<double> ms = timeline_.take_intervals_ms();
  for (size_t i = 0; i < ms.size(); ++i) rows_[owners_[i]].ms += ms[i];
  owners_.clear();
  open_.clear();
}

void LabelTimes::before(const OpCall& call) {
  mark();
  if (open_.size() == 1)
    open_ = {row(call.phase == OpPhase::forward ? "between ops of forward: gathered weights, masks"
                                                : "between ops of backward: sums and packing of gradients",
                 "")};
  open_.push_back(row(name_of(call.label()), phase_name(call.phase)));
}

void LabelTimes::after(const OpCall& call, const Tensors& out) {
  mark();
  TimeRow& mine = rows_[open_.back()];
  const OpWork work = work_of(call, out);
  mine.calls += 1;
  mine.flops += work.flops;
  if (!work.is_view) mine.bytes += work.bytes;
  open_.pop_back();
}

void LabelTimes::before_wait(std::string_view collective) {
  if (open_.empty()) return;  // outside of what is measured
  mark();
  open_.push_back(row(name_of(std::string(collective)), kWait));
}

void LabelTimes::after_wait() {
  if (open_.empty()) return;
  mark();
  rows_[open_.back()].calls += 1;
  open_.pop_back();
}

std::vector<TimeRow> LabelTimes::rows(int64_t steps) const {
  std::vector<TimeRow> out = rows_;
  for (TimeRow& r : out)
    for (double* figure : {&r.calls, &r.ms, &r.flops, &r.bytes}) *figure /= static_cast<double>(steps);
  std::stable_sort(out.begin(), out.end(), [](const TimeRow& a, const TimeRow& b) { return a.ms > b.ms; });
  return out;
}

double total_ms(const std::vector<TimeRow>& rows) {
  double sum = 0;
  for (const TimeRow& r : rows) sum += r.ms;
  return sum;
}

double total_flops(const std::vector<TimeRow>& rows) {
  double total = 0;
  for (const TimeRow& row : rows) total += row.flops;
  return total;
}

double waiting_ms(const std::vector<TimeRow>& rows) {
  double sum = 0;
  for (const TimeRow& r : rows)
    if (r.phase == kWait) sum += r.ms;
  return sum;
}

}  // namespace orrery
