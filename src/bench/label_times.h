#pragma once
// LabelTimes: where the time of a step went, by label of the op ("blocks.*.mlp.layer1.linear", backward), by
// collective that was waited for, and by section of the step for what lies outside of both. Every moment
// belongs to one row, so the rows add up to the step: an op that makes evicted values again, or waits for a
// collective, is not charged for it. Used by TrainBench, which observes a step with it, and by OpBench.
//
// On a GPU the times are those of the current stream (bench/timeline.h): a row holds the kernels that its op
// queued and any gap before them in which the stream had nothing to do because the host was late.
#include <map>

#include "autograd/observer.h"
#include "bench/timeline.h"
#include "parallel/comm.h"

namespace orrery {

struct TimeRow {
  std::string label;
  std::string phase;  // forward, recompute, backward; wait: for a collective; empty: a section
  double calls = 0, ms = 0;
  double flops = 0, bytes = 0;  // OpWork; 0 where it is not known
};

class LabelTimes final : public OpObserver, public WaitObserver {
 public:
  explicit LabelTimes(at::Device device) : timeline_(device) {}
  // Layers of a number each have a row of their own: "downsamples.3.residual.2.conv3d".
  void keep_numbers() { keeps_numbers_ = true; }

  // Around what is measured. What is outside ops and waits belongs to the latest section; while ops run,
  // those of forward and of backward have sections of their own.
  void begin(const std::string& section);
  void section(const std::string& name);
  void end();

  // All that was measured, divided by `steps`, by falling time.
  std::vector<TimeRow> rows(int64_t steps) const;

  void before(const OpCall& call) override;
  void after(const OpCall& call, const Tensors& out) override;
  void before_wait(std::string_view collective) override;
  void after_wait() override;

 private:
  size_t row(const std::string& label, const std::string& phase);
  void mark();  // ends an interval, which belongs to the innermost open row

  std::string name_of(const std::string& label) const;

  Timeline timeline_;
  bool keeps_numbers_ = false;
  std::vector<TimeRow> rows_;
  std::map<std::pair<std::string, std::string>, size_t> index_;
  std::vector<size_t> open_;    // rows at work, the innermost last; the first is the section
  std::vector<size_t> owners_;  // row of each interval of the timeline
};

double total_ms(const std::vector<TimeRow>& rows);
double total_flops(const std::vector<TimeRow>& rows);
double waiting_ms(const std::vector<TimeRow>& rows);  // of the rows of collectives

}  // namespace orrery
