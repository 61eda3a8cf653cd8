#pragma once
// Module and Parameter: the tree of named weights that a model is. Member names are the checkpoint's keys. A
// module is built without storage (meta tensors); materialize() gives it memory and initialize() values that
// do not depend on how the model is laid out over ranks.
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "autograd/variable.h"

namespace orrery {

class SavePolicy;

// What happens around a module's calls; see Scope. FSDP gathers and frees weights here.
class ScopeHooks {
 public:
  virtual ~ScopeHooks() = default;
  virtual void before_forward() {}
  virtual void after_forward() {}
  virtual void before_backward() {}
  virtual void after_backward() {}
};

// Initial distribution of a parameter.
struct Init {
  enum class Kind { zeros, ones, truncated_normal, normal } kind = Kind::zeros;
  double std = 0;  // truncated_normal: cut at +-3 std

  static Init zeros() { return {}; }
  static Init ones() { return {Kind::ones, 0}; }
  static Init truncated_normal(double std) { return {Kind::truncated_normal, std}; }
  static Init normal(double std) { return {Kind::normal, std}; }
};

class Parameter;
class Buffer;

class Module {
 public:
  Module() = default;                        // a root
  Module(Module* parent, std::string name);  // the parent must outlive the child
  virtual ~Module() = default;
  Module(const Module&) = delete;
  Module& operator=(const Module&) = delete;

  const std::string& path() const { return path_; }  // "blocks.7.mlp.layer1"; empty for a root
  const std::vector<Module*>& children() const { return children_; }

  // Depth first in declaration order, with full key.
  std::vector<Parameter*> parameters() const;
  std::vector<Buffer*> buffers() const;
  void for_each_module(const std::function<void(Module&)>& visit);
  int64_t num_parameters() const;

  // Gives every parameter and buffer of the tree storage (uninitialised) on this device. Parameters take
  // dtype; buffers too, unless they are integers.
  void materialize(at::Device device, at::ScalarType dtype);
  void materialize_buffers(at::Device device, at::ScalarType dtype);
  // Fills every parameter from Rng(seed, its key): element i depends on seed, key and i alone.
  void initialize(uint64_t seed);
  void set_needs_grad(bool needs);

  std::vector<std::shared_ptr<ScopeHooks>> hooks;
  std::shared_ptr<const SavePolicy> save_policy;  // set: calls of this module are recompute units

 private:
  friend class Parameter;
  friend class Buffer;
  void collect(std::vector<Parameter*>& into) const;

  std::string path_;
  std::vector<Module*> children_;
  std::vector<Parameter*> parameters_;
  std::vector<Buffer*> buffers_;
};

// A trained tensor of a module. Starts on the meta device in float32, needs a gradient.
class Parameter {
 public:
  Parameter(Module* owner, const std::string& name, Shape shape, Init init);
  Parameter(const Parameter&) = delete;
  Parameter& operator=(const Parameter&) = delete;

  const std::string& key() const { return key_; }
  const Shape& shape() const { return variable_.shape(); }
  const Init& init() const { return init_; }
  const Variable& variable() const { return variable_; }
  Variable& variable() { return variable_; }
  operator const Variable&() const { return variable_; }  // NOLINT: a parameter is used where a variable is
  const at::Tensor& value() const { return variable_.value(); }

 private:
  std::string key_;
  Init init_;
  Variable variable_;
};

// A stored tensor that is not trained but is part of the checkpoint. The constructor's value is its initial
// content.
class Buffer {
 public:
  Buffer(Module* owner, const std::string& name, at::Tensor initial);
  Buffer(const Buffer&) = delete;
  Buffer& operator=(const Buffer&) = delete;

  const std::string& key() const { return key_; }
  const at::Tensor& value() const { return value_; }
  void set_value(at::Tensor value);

 private:
  std::string key_;
  at::Tensor value_;
};

// What initialize() gives rows [begin, end) of dimension 0 of a parameter of this shape and key: float32 on
// the CPU. They do not depend on which other rows are asked for.
at::Tensor initial_rows(const Init& init, const Shape& shape, int64_t begin, int64_t end,
                        const std::string& key, uint64_t seed);

}  // namespace orrery
