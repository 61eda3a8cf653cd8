#include "autograd/observer.h"

#include "autograd/module.h"

namespace orrery {
namespace {

thread_local std::vector<OpObserver*> observers;

}  // namespace

std::string OpCall::label() const {
  return label_of(scope, op);
}

Observing::Observing(OpObserver& observer) {
  observers.push_back(&observer);
}
Observing::~Observing() {
  observers.pop_back();
}

Tensors run_observed(const OpCall& call, const std::function<Tensors()>& body) {
  if (observers.empty()) return body();
  for (OpObserver* observer : observers) observer->before(call);
  Tensors out = body();
  for (OpObserver* observer : observers) observer->after(call, out);
  return out;
}

std::string label_of(const Module* scope, const Op& op) {
  const std::string path = scope ? scope->path() : "";
  return path.empty() ? std::string(op.name()) : path + "." + std::string(op.name());
}

}  // namespace orrery
