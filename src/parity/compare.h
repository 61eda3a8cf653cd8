#pragma once
// How far a case's results are from what its file expects.
#include <string>
#include <vector>

#include "parity/case.h"

namespace orrery {

struct Comparison {
  std::string name;  // of the result: "v", "grads.blocks.0.mlp.layer1.weight"
  double error =
      0;  // floating: |got - want|_2 / |want|_2 in double; integer: fraction of elements that differ
  double tolerance = 0;
  bool passed = false;
  std::string problem;  // why not, where the error does not say it: "missing", "shape [2], wanted [3]"
};

// One entry for every expected result, and one, failed, for every result that is not expected. A NaN never
// passes; if all of an expected tensor is zero, the result must be exactly zero; integers must be equal
// unless int_tolerance says otherwise; a floating result does not stand for an integer one, nor the reverse.
std::vector<Comparison> compare(const Case& c, const NamedTensors& results);

// The entry to show for the whole case: a failed one before a passed one, then the largest error / tolerance.
const Comparison& worst(const std::vector<Comparison>& all);

}  // namespace orrery
