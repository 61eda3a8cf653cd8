#include "plan/cost.h"

#include <ATen/ops/empty.h>

#include <algorithm>
#include <cctype>
#include <cmath>

#include "autograd/tape.h"
#include "ops/attention_tiles.h"
#include "ops/attention_workspace.h"

namespace orrery {
namespace {

constexpr int64_t kShortAttention = 1024;  // keys; below, the ceilings' short_attention figures hold

double bytes_of(const at::Tensor& tensor) {
  return tensor.defined() ? static_cast<double>(tensor.numel()) * static_cast<double>(tensor.itemsize()) : 0;
}
double bytes_of(const Tensors& tensors) {
  double sum = 0;
  for (const at::Tensor& tensor : tensors) sum += bytes_of(tensor);
  return sum;
}

// Of what a derivative reads, as far as it is there.
double saved_bytes(const Node& node) {
  double sum = 0;
  for (size_t i = 0; i < node.inputs.size(); ++i)
    if (node.inputs[i] && node.op->saves_input(i)) sum += bytes_of(node.inputs[i]->tensor);
  for (const auto& value : node.outputs)
    if (value) sum += bytes_of(value->tensor);
  return sum;
}

std::vector<Shape> input_shapes(const OpCall& call) {
  std::vector<Shape> shapes;
  if (call.phase == OpPhase::backward) {
    for (const auto& [shape, dtype] : call.node->input_meta) shapes.push_back(shape);
  } else {
    for (const at::Tensor& in : call.in) shapes.push_back(in.defined() ? in.sizes().vec() : Shape{});
  }
  return shapes;
}

bool is_view(const OpCall& call, const Tensors& out) {
  return std::all_of(out.begin(), out.end(), [&](const at::Tensor& o) {
    return !o.defined() || std::any_of(call.in.begin(), call.in.end(), [&](const at::Tensor& i) {
      return i.defined() && i.storage().is_alias_of(o.storage());
    });
  });
}

double flops_of(const OpCall& call, const std::vector<Shape>& shapes) {
  if (call.phase != OpPhase::backward) return call.op.forward_flops(shapes);
  std::vector<bool> needs;
  for (const auto& slot : call.node->input_slots) needs.push_back(slot != nullptr);
  return call.op.backward_flops(shapes, needs);
}

// What the tape does behind an op's backward: gradients that meet others in their slots are added to them.
double sum_bytes(const OpCall& call, const Tensors& out) {
  double bytes = 0;
  for (size_t i = 0; i < out.size(); ++i)
    if (const auto& slot = call.node->input_slots[i]; slot && slot->grad.defined())
      bytes += 3 * bytes_of(out[i]);
  return bytes;
}

// Without a fused kernel: exchanges, which run none of their own, and what is plain ATen on a GPU too. Their
// temporaries are as the program says.
bool is_as_written(const Op& op) {
  return op.name().starts_with("ulysses") || op.name() == "biased_attention";
}

// Comes and goes while an op's results are there.
void make_workspace(int64_t bytes) {
  const MemoryTag tag(MemoryUse::workspace);
  at::empty({bytes}, at::device(at::kMeta).dtype(at::kByte));
}

}  // namespace

std::string without_numbers(const std::string& label) {
  std::string out;
  for (const char c : label) {
    const bool is_digit = std::isdigit(static_cast<unsigned char>(c)) != 0;
    const bool inside = is_digit && !out.empty() && out.back() == '*';
    const bool begins = is_digit && (out.empty() || out.back() == '.');
    if (!inside) out += begins ? '*' : c;
  }
  return out;
}

OpWork work_of(const OpCall& call, const Tensors& out) {
  OpWork work{.is_view = is_view(call, out), .bytes = bytes_of(call.in) + bytes_of(out)};
  if (call.phase == OpPhase::backward) work.bytes += saved_bytes(*call.node);
  if (call.op.engine() != Engine::memory) work.flops = flops_of(call, input_shapes(call));
  return work;
}

OpCost::OpCost(const Ceilings& ceilings, PlanClock& clock, MemoryMeter& meter, bool deterministic)
    : ceilings_(ceilings), clock_(clock), meter_(meter), deterministic_(deterministic) {}

void OpCost::before(const OpCall& call) {
  if (call.phase == OpPhase::backward && !made_.empty()) count_kept();
  if (call.phase == OpPhase::forward && was_backward_) on_next_micro_batch();
  was_backward_ = call.phase != OpPhase::forward;
  if (ceilings_.device == Device::cuda && !is_as_written(call.op)) meter_.pause(true);
}

void OpCost::after(const OpCall& call, const Tensors& out) {
  meter_.pause(false);
  if (is_half_attention_backward(call)) make_workspace(attention_workspace_bytes(call));
  const double seconds = seconds_of(call, out);
  clock_.compute(seconds);
  tally_.seconds[std::string(call.op.name())] += seconds;
  switch (call.phase) {
    case OpPhase::forward:
      tally_.forward_s += seconds;
      tally_.forward_flops += call.op.forward_flops(input_shapes(call));
      return remember(call, out);
    case OpPhase::recompute:
      tally_.recompute_s += seconds;
      return;
    case OpPhase::backward:
      const double sums = sum_bytes(call, out) / (1e9 * ceilings_.memory_gb_per_s);
      clock_.compute(sums);
      tally_.backward_s += seconds + sums;
      tally_.seconds["sums of gradients"] += sums;
      return;
  }
}

// By fused kernels, which take half types.
bool OpCost::is_half_attention_backward(const OpCall& call) const {
  return ceilings_.device == Device::cuda && call.phase == OpPhase::backward &&
         call.op.name() == "attention" && call.in[0].itemsize() == 2;
}

// By our own kernels (ops/attention_tiles.h).
bool OpCost::is_tiled(const OpCall& call, const std::vector<Shape>& shapes) const {
  return ceilings_.tiled_attention_forward_tflops > 0 && call.op.name() == "attention" &&
         call.in[0].itemsize() == 2 && shapes[0][3] == kTiledHead && shapes[1][1] >= kMinTiledKeys;
}

int64_t OpCost::attention_workspace_bytes(const OpCall& call) const {
  const std::vector<Shape> shapes = input_shapes(call);
  if (is_tiled(call, shapes)) return tiled_backward_bytes(shapes[0]);
  return deterministic_ ? deterministic_parts(shapes[0], shapes[1]).bytes : cudnn_backward_bytes(shapes[0]);
}

double OpCost::attention_flops_per_s(const OpCall& call, const std::vector<Shape>& shapes) const {
  const bool is_backward = call.phase == OpPhase::backward,
             is_fixed = deterministic_ && is_half_attention_backward(call);
  const Ceilings& c = ceilings_;
  if (shapes[1][1] < kShortAttention)
    return 1e12 * (is_backward ? c.short_attention_backward_tflops : c.short_attention_forward_tflops);
  if (is_tiled(call, shapes))
    return 1e12 * (is_fixed      ? c.deterministic_tiled_attention_backward_tflops
                   : is_backward ? c.tiled_attention_backward_tflops
                                 : c.tiled_attention_forward_tflops);
  return 1e12 * (is_fixed      ? c.deterministic_attention_backward_tflops
                 : is_backward ? c.attention_backward_tflops
                               : c.attention_forward_tflops);
}

double OpCost::flops_per_s(const OpCall& call, const std::vector<Shape>& shapes) const {
  if (call.op.engine() == Engine::attention) return attention_flops_per_s(call, shapes);
  const bool is_half = call.in[0].defined() && call.in[0].itemsize() == 2;
  return 1e12 * (is_half ? ceilings_.matmul_tflops : ceilings_.matmul_float32_tflops);
}

double OpCost::seconds_of(const OpCall& call, const Tensors& out) const {
  const OpWork work = work_of(call, out);
  if (work.is_view) return 0;
  double seconds = std::max(1e-6 * ceilings_.op_us, work.bytes / (1e9 * ceilings_.memory_gb_per_s));
  if (work.flops > 0) {
    const std::vector<Shape> shapes = input_shapes(call);
    double busy = work.flops / flops_per_s(call, shapes);
    if (call.op.engine() ==
        Engine::matmul)  // in backward one product for each gradient, of the forward's size
      busy += 1e-6 * ceilings_.product_tail_us * std::round(work.flops / call.op.forward_flops(shapes));
    seconds = std::max(seconds, busy);
  }
  return seconds;
}

void OpCost::remember(const OpCall& call, const Tensors& out) {
  const std::string label = without_numbers(call.label());
  for (const at::Tensor& tensor : out)
    if (tensor.defined()) made_.push_back({tensor.storage().getWeakStorageImpl(), label});
}

void OpCost::count_kept() {
  std::map<const c10::StorageImpl*, bool> seen;
  std::map<std::string, int64_t> kept;
  for (const Kept& made : made_)
    if (const auto storage = made.storage.lock(); storage && !std::exchange(seen[storage.get()], true))
      kept[made.label] += static_cast<int64_t>(storage->nbytes());
  made_.clear();
  tally_.kept_bytes = std::move(kept);
}

}  // namespace orrery
