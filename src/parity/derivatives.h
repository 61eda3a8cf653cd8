#pragma once
// Runs a module made of tape ops the way a case asks for: forward, and, if the file has cotangents.* or
// tangents.*, backward and forward mode, in one pass.
#include <functional>

#include "autograd/module.h"
#include "autograd/variable.h"
#include "parity/case.h"

namespace orrery {

using NamedVariables = std::map<std::string, Variable>;

// These inputs of the case (dtypes as Case::input; integers become floats), with their tangents, wanting a
// gradient if the case asks for one. They are all that is differentiated: Error if the file lacks one or has
// a tangent of another.
NamedVariables input_variables(const Case& c, at::Device device, std::initializer_list<const char*> names);

// Gives a module that was built without storage the case's weights: every parameter and buffer from the file.
// Weights of the file that the module lacks are left alone. Error: missing, misshapen. Returns its parameters
// by key.
NamedVariables load_weights(Module& module, const Case& c, at::Device device);

// Calls forward, which returns its outputs by name, and collects outputs, gradients and tangents that the
// case wants. Error: a cotangent whose output forward does not return.
NamedTensors run_with_derivatives(const Case& c, const NamedVariables& inputs, const NamedVariables& weights,
                                  const std::function<NamedVariables()>& forward);

}  // namespace orrery
