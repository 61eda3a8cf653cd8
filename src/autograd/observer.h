#pragma once
// OpObserver sees every op that runs on its thread: plans time and count them, the recompute policy measures
// them. Observers must not run ops themselves.
#include <functional>
#include <string>

#include "autograd/op.h"

namespace orrery {

struct Node;
class Module;

// One run of an op's forward or backward.
enum class OpPhase { forward, recompute, backward };
struct OpCall {
  const Op& op;
  const Module* scope;  // innermost module call
  OpPhase phase;
  const Node* node;   // as recorded; null in the first forward
  const Tensors& in;  // forward, recompute: the inputs. backward: the results' gradients

  std::string label() const;  // "blocks.7.mlp.layer1.linear"
};

class OpObserver {
 public:
  virtual ~OpObserver() = default;
  virtual void before(const OpCall&) {}
  // out: the outputs, or (backward) the inputs' gradients, undefined where none is needed.
  virtual void after(const OpCall&, const Tensors& out) {}
};

// RAII: the observer sees the ops of this thread while it lives. Observers stack; all of them are told.
class Observing {
 public:
  explicit Observing(OpObserver& observer);
  ~Observing();
  Observing(const Observing&) = delete;
  Observing& operator=(const Observing&) = delete;
};

// For the tape: body between before() and after() of all observers.
Tensors run_observed(const OpCall& call, const std::function<Tensors()>& body);

std::string label_of(const Module* scope, const Op& op);

}  // namespace orrery
