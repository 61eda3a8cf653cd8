#include "autograd/scope.h"

#include <exception>

#include "autograd/save_policy.h"
#include "autograd/tape.h"

namespace orrery {
namespace {

thread_local const Scope* innermost_scope = nullptr;
thread_local bool inside_unit = false;

void mark(Node::Kind kind, const Module& module) {
  Node& node = Recording::current()->tape().append();
  node.kind = kind;
  node.scope = &module;
}

}  // namespace

Scope::Scope(const Module& module)
    : module_(module),
      outer_(innermost_scope),
      is_recording_(Recording::current() != nullptr),
      is_unit_(is_recording_ && module.save_policy && !inside_unit),
      exceptions_(std::uncaught_exceptions()) {
  for (const auto& hook : module_.hooks) hook->before_forward();
  if (is_recording_ && (is_unit_ || !module_.hooks.empty())) {
    begin_ = Recording::current()->tape().size();
    mark(Node::Kind::enter, module_);
  }
  if (is_unit_) inside_unit = true;
  innermost_scope = this;
}

Scope::~Scope() noexcept(false) {
  innermost_scope = outer_;
  if (is_unit_) inside_unit = false;
  if (std::uncaught_exceptions() > exceptions_) return;
  if (is_unit_) evict();
  if (is_recording_ && (is_unit_ || !module_.hooks.empty())) mark(Node::Kind::leave, module_);
  for (const auto& hook : module_.hooks) hook->after_forward();
}

void Scope::evict() const {
  Tape& tape = Recording::current()->tape();
  for (size_t i = begin_; i < tape.size(); ++i) {
    Node& node = tape[i];
    if (node.kind != Node::Kind::op || module_.save_policy->keeps(node.label())) continue;
    for (const auto& weak : node.all_outputs)
      if (const auto value = weak.lock(); value && !value->is_result) value->tensor.reset();
  }
}

Variable Scope::result(const Variable& v) const {
  v.value_ref()->is_result = true;
  return v;
}

const Module* Scope::innermost() {
  return innermost_scope ? &innermost_scope->module_ : nullptr;
}
bool Scope::inside_recompute_unit() {
  return inside_unit;
}

void Scope::before_backward(const Module& module) {
  for (const auto& hook : module.hooks) hook->before_backward();
}
void Scope::after_backward(const Module& module) {
  for (const auto& hook : module.hooks) hook->after_backward();
}

}  // namespace orrery
