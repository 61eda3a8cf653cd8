#pragma once
// The modules that golden cases can name, each with the function that runs one.
//
// To add a module, write its runner in a file of its own,
//
//   // parity/schedule.h
//   NamedTensors run_lr_schedule(const Case& c, at::Device device);
//
//   // parity/schedule.cpp
//   NamedTensors run_lr_schedule(const Case& c, at::Device device) {
//     const at::Tensor iteration = c.input("iteration", device);
//     const LrSchedule schedule(c.option<double>("lr"), ...);
//     NamedTensors results{{"multiplier", schedule.multipliers(iteration)}};
//     if (c.wants("lr")) results["lr"] = schedule.rates(iteration);     // a result that not every file
//     stores return results;
//   }
//
// and its line in the table of parity/modules.cpp. Results carry the golden names: outputs bare, others as
// grads.KEY, input_grads.NAME, output_tangents.OUTPUT. An Error thrown by a runner fails the case with its
// message. Modules made of tape ops get gradients and tangents from parity/derivatives.h.
#include <span>
#include <string_view>

#include "parity/case.h"

namespace orrery {

using CaseRunner = NamedTensors (*)(const Case& c, at::Device device);

struct CaseModule {
  std::string_view name;
  CaseRunner run;
};

std::span<const CaseModule> case_modules();
CaseRunner find_case_module(std::string_view name);  // null: unknown

}  // namespace orrery
