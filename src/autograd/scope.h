#pragma once
// Scope marks the call of a module on the tape. Its hooks run before and after forward, and, when the
// backward walk passes the marks, before and after backward, whether or not a gradient leaves the module. A
// module with a save policy is a recompute unit: when its scope ends, the outputs that the policy does not
// keep are evicted; the first read in backward makes them again.
#include "autograd/module.h"

namespace orrery {

class Scope {
 public:
  explicit Scope(const Module& module);
  ~Scope() noexcept(
      false);  // hooks may fail (a collective that timed out); not run while an exception is in flight
  Scope(const Scope&) = delete;
  Scope& operator=(const Scope&) = delete;

  // Marks a value that outlives the unit: it is never evicted.
  Variable result(const Variable& v) const;

  static const Module* innermost();
  static bool inside_recompute_unit();

 private:
  friend class Recording;
  static void before_backward(const Module& module);
  static void after_backward(const Module& module);
  void evict() const;

  const Module& module_;
  const Scope* outer_;
  size_t begin_ = 0;  // position of the enter mark on the tape
  bool is_recording_;
  bool is_unit_;  // this scope opens a recompute unit (units do not nest: the outermost counts)
  int exceptions_;
};

}  // namespace orrery
