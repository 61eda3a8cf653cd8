#pragma once
// Op: one coarse differentiable operation (attention, adaln, linear, ...). An op is a pure function of its
// inputs and its constructor's attributes; randomness enters as an input. So a second forward gives the same
// bits (recompute) and the derivative is defined. Subclasses live in ops/, one file each.
#include <string_view>

#include "autograd/variable.h"

namespace orrery {

// What a derivative may read: the values of inputs and outputs (made again if they were evicted) and facts
// about inputs.
class Saved {
 public:
  explicit Saved(const Node& node) : node_(node) {}
  const at::Tensor& in(size_t i) const;   // only if the op's saves_input(i)
  const at::Tensor& out(size_t i) const;  // only if the op's saves_output(i)
  bool needs_grad(size_t i) const;        // may the gradient of input i be left undefined?
  const Shape& in_shape(size_t i) const;
  at::ScalarType in_dtype(size_t i) const;
  size_t num_inputs() const;

 private:
  const Node& node_;
};

// Which part of a device bounds an op: its memory bandwidth, or the arithmetic of its kernel.
enum class Engine { memory, matmul, attention };

class Op {
 public:
  virtual ~Op() = default;
  virtual std::string_view name() const = 0;

  // Outputs: first num_results() results, which other ops may use, then statistics that only the derivatives
  // read.
  virtual Tensors forward(const Tensors& in) const = 0;
  // dout: gradient of every result (zeros where none arrived; undefined only if takes_undefined()).
  // Returns one gradient an input, undefined = zero; must be given where saved.needs_grad(i).
  virtual Tensors backward(const Saved& saved, const Tensors& dout) const = 0;
  // tin: tangent of every input (zeros where none; undefined only if takes_undefined()). Returns one an
  // output result.
  virtual Tensors jvp(const Saved& saved, const Tensors& tin) const = 0;

  virtual size_t num_results() const { return 1; }
  virtual bool takes_undefined() const { return false; }
  // Which values backward and jvp read; the others are free to go after forward.
  virtual bool saves_input(size_t) const { return true; }
  virtual bool saves_output(size_t) const { return false; }

  // What plans reckon with. A multiply-add counts as two operations; shapes: of the inputs, empty where one
  // is absent; needs_grad: per input.
  virtual Engine engine() const { return Engine::memory; }
  virtual double forward_flops(const std::vector<Shape>& shapes) const { return 0; }
  virtual double backward_flops(const std::vector<Shape>& shapes, const std::vector<bool>& needs_grad) const {
    return 0;
  }
};

}  // namespace orrery
