#include "autograd/tape.h"

#include <ATen/ops/ones_like.h>
#include <ATen/ops/zeros.h>
#include <ATen/ops/zeros_like.h>

#include <cassert>
#include <unordered_map>
#include <unordered_set>

#include "autograd/observer.h"
#include "autograd/scope.h"
#include "base/error.h"
#include "base/memory.h"

namespace orrery {
namespace {

thread_local Recording* current_recording = nullptr;

Tensors values_of(const Variables& in) {
  Tensors out;
  out.reserve(in.size());
  for (const Variable& v : in) out.push_back(v.defined() ? v.value() : at::Tensor());
  return out;
}

// Fills a node with what its derivatives (and, inside a recompute unit, a second forward) will read.
void fill(Node& node, const std::shared_ptr<const Op>& op, const Variables& in, const Variables& out,
          bool keep_all) {
  node.op = op;
  node.scope = Scope::innermost();
  for (size_t i = 0; i < in.size(); ++i) {
    const bool defined = in[i].defined();
    node.inputs.push_back(defined && (keep_all || op->saves_input(i)) ? in[i].value_ref() : nullptr);
    node.input_slots.push_back(defined && in[i].needs_grad() ? in[i].slot() : nullptr);
    node.input_meta.emplace_back(defined ? in[i].shape() : Shape{}, defined ? in[i].dtype() : at::kFloat);
  }
  for (size_t i = 0; i < out.size(); ++i) {
    node.outputs.push_back(op->saves_output(i) ? out[i].value_ref() : nullptr);
    if (i < op->num_results()) node.output_slots.push_back(out[i].slot());
    if (keep_all) node.all_outputs.push_back(out[i].value_ref());
  }
}

// "blocks.7.mlp.gelu" -> "blocks.*.mlp.gelu"; other numbers are names of layers.
std::string without_block_number(std::string label) {
  constexpr std::string_view kBlocks = "blocks.";
  if (!label.starts_with(kBlocks)) return label;
  const size_t end = label.find_first_not_of("0123456789", kBlocks.size());
  return label.replace(kBlocks.size(), end - kBlocks.size(), "*");
}

void push_tangents(const Op& op, const Node& node, const Variables& in, Variables& out) {
  Tensors tangents;
  for (const Variable& v : in) {
    const bool absent = !v.defined() || v.tangent().defined() || op.takes_undefined();
    tangents.push_back(absent ? (v.defined() ? v.tangent() : at::Tensor()) : at::zeros_like(v.value()));
  }
  const Tensors touts = op.jvp(Saved(node), tangents);
  assert(touts.size() == op.num_results());
  for (size_t i = 0; i < touts.size(); ++i) out[i] = out[i].with_tangent(touts[i]);
}

void backward_of(Node& node) {
  const size_t results = node.op->num_results();
  Tensors dout(results);
  bool any = false;
  for (size_t i = 0; i < results; ++i) {
    dout[i] = node.output_slots[i]->take();
    any = any || dout[i].defined();
  }
  if (!any) return;
  if (!node.op->takes_undefined())
    for (size_t i = 0; i < results; ++i)
      if (!dout[i].defined()) {
        const auto& slot = *node.output_slots[i];
        const auto& device =
            *std::find_if(dout.begin(), dout.end(), [](const auto& d) { return d.defined(); });
        dout[i] = at::zeros(slot.shape, device.options().dtype(slot.dtype));
      }
  const MemoryTag tag(MemoryUse::workspace);
  const OpCall call{*node.op, node.scope, OpPhase::backward, &node, dout};
  const Tensors din = run_observed(call, [&] { return node.op->backward(Saved(node), dout); });
  assert(din.size() == node.input_slots.size());
  for (size_t i = 0; i < din.size(); ++i)
    if (node.input_slots[i] && din[i].defined()) node.input_slots[i]->accumulate(din[i]);
}

}  // namespace

const at::Tensor& Saved::in(size_t i) const {
  require(node_.inputs.at(i) != nullptr, node_.op->name(), ": input ", i, " was not saved");
  return node_.inputs[i]->get();
}
const at::Tensor& Saved::out(size_t i) const {
  require(node_.outputs.at(i) != nullptr, node_.op->name(), ": output ", i, " was not saved");
  return node_.outputs[i]->get();
}
bool Saved::needs_grad(size_t i) const {
  return node_.input_slots.at(i) != nullptr;
}
const Shape& Saved::in_shape(size_t i) const {
  return node_.input_meta.at(i).first;
}
at::ScalarType Saved::in_dtype(size_t i) const {
  return node_.input_meta.at(i).second;
}
size_t Saved::num_inputs() const {
  return node_.input_meta.size();
}

Node::~Node() {
  const auto release = [this](const std::shared_ptr<Value>& value) {
    if (value && value->producer == this) value->producer = nullptr;
  };
  for (const auto& value : outputs) release(value);
  for (const auto& weak : all_outputs) release(weak.lock());
}

std::string Node::label() const {
  return label_of(scope, *op);
}

void Node::recompute() {
  Tensors in;
  for (const auto& value : inputs) in.push_back(value ? value->get() : at::Tensor());
  const MemoryTag tag(MemoryUse::activations);
  const OpCall call{*op, scope, OpPhase::recompute, this, in};
  const Tensors out = run_observed(call, [&] { return op->forward(in); });
  for (size_t i = 0; i < out.size(); ++i)
    if (const auto value = all_outputs[i].lock(); value && !value->tensor.defined()) value->tensor = out[i];
}

void Tape::for_each_held(const VisitHeld& visit) const {
  std::unordered_set<const void*> seen;
  const auto see = [&](const std::shared_ptr<Value>& value, const Node& node, const GradSlot* slot) {
    if (!value || value->is_leaf || !value->tensor.defined()) return;
    const auto& storage = value->tensor.storage();
    if (seen.insert(storage.unsafeGetStorageImpl()).second)
      visit(static_cast<int64_t>(storage.nbytes()), node, slot);
  };
  for (const auto& node : nodes_) {
    for (size_t i = 0; i < node->inputs.size(); ++i) see(node->inputs[i], *node, node->input_slots[i].get());
    for (const auto& value : node->outputs) see(value, *node, nullptr);
  }
}

int64_t Tape::held_bytes() const {
  int64_t total = 0;
  for_each_held([&](int64_t bytes, const Node&, const GradSlot*) { total += bytes; });
  return total;
}

std::map<std::string, int64_t> Tape::held_by_label() const {
  std::unordered_map<const GradSlot*, const Node*> makers;
  for (const auto& node : nodes_)
    for (const auto& slot : node->output_slots) makers[slot.get()] = node.get();
  std::map<std::string, int64_t> bytes_of;
  for_each_held([&](int64_t bytes, const Node& holder, const GradSlot* slot) {
    const auto maker = makers.find(slot);  // not found: an output of the holder, or a detached input
    bytes_of[without_block_number((maker == makers.end() ? holder : *maker->second).label())] += bytes;
  });
  return bytes_of;
}

Recording::Recording() : outer_(current_recording) {
  current_recording = this;
}
Recording::~Recording() {
  current_recording = outer_;
}
Recording* Recording::current() {
  return current_recording;
}

NoRecording::NoRecording() : outer_(current_recording) {
  current_recording = nullptr;
}
NoRecording::~NoRecording() {
  current_recording = outer_;
}

void Recording::backward(const Variable& loss) {
  require(loss.value().numel() == 1, "backward: the loss has shape ", loss.value().sizes(),
          ", wanted one number");
  backward({{loss, at::ones_like(loss.value())}});
}

void Recording::backward(const std::vector<Seed>& seeds) {
  for (const Seed& seed : seeds) {
    require(seed.output.needs_grad(), "backward: the output depends on nothing that needs a gradient");
    seed.output.slot()->accumulate(seed.cotangent);
  }
  const NoRecording guard;  // hooks and recompute run ops that must not be recorded
  auto& nodes = tape_.nodes_;
  while (!nodes.empty()) {
    Node& node = *nodes.back();
    switch (node.kind) {
      case Node::Kind::op:
        backward_of(node);
        break;
      case Node::Kind::leave:
        Scope::before_backward(*node.scope);
        break;
      case Node::Kind::enter:
        Scope::after_backward(*node.scope);
        break;
    }
    nodes.pop_back();
  }
}

bool has_no_derivative(const Variables& in) {
  return std::none_of(in.begin(), in.end(), [](const Variable& v) {
    return v.defined() && (v.tangent().defined() || (current_recording != nullptr && v.needs_grad()));
  });
}

Variables apply_op(std::shared_ptr<const Op> op, const Variables& in) {
  const Tensors values = values_of(in);
  const OpCall call{*op, Scope::innermost(), OpPhase::forward, nullptr, values};
  const Tensors tensors = run_observed(call, [&] {
    if (!current_recording) return op->forward(values);
    const MemoryTag tag(MemoryUse::activations);
    return op->forward(values);
  });
  bool needs_grad = false, has_tangent = false;
  for (const Variable& v : in) {
    if (!v.defined()) continue;
    needs_grad = needs_grad || v.needs_grad();
    has_tangent = has_tangent || v.tangent().defined();
  }
  const bool record = needs_grad && current_recording != nullptr;
  Variables out;
  out.reserve(tensors.size());
  for (const at::Tensor& tensor : tensors) out.emplace_back(tensor, record);
  if (has_tangent) {
    Node local;
    fill(local, op, in, out, false);
    push_tangents(*op, local, in, out);
  }
  if (record) {
    Node& node = current_recording->tape().append();
    const bool may_evict = Scope::inside_recompute_unit();
    fill(node, op, in, out, may_evict);
    for (const Variable& v : out) {
      v.value_ref()->is_leaf = v.slot()->is_leaf = false;
      if (may_evict) v.value_ref()->producer = &node;
    }
  }
  out.resize(op->num_results());
  return out;
}

}  // namespace orrery
