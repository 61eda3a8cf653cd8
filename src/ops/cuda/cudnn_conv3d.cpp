// Convolutions in time and space, on tensors whose memory is in the order B, T, H, W, C: those that our own
// kernel serves go to it (conv_call.h), the others to cuDNN. As in cudnn_attention.cpp, cudnn-frontend
// describes each call as a graph, and plans are kept. Bias and residual are part of the graph where cuDNN
// takes them.
#include <ATen/Context.h>
#include <ATen/cudnn/Handle.h>
#include <ATen/ops/constant_pad_nd.h>
#include <ATen/ops/cudnn_convolution.h>
#include <ATen/ops/empty.h>
#include <c10/cuda/CUDACachingAllocator.h>
#include <c10/cuda/CUDAEvent.h>
#include <c10/cuda/CUDAFunctions.h>
#include <c10/cuda/CUDAGuard.h>

#define CUDNN_FRONTEND_SKIP_JSON_LIB  // serves to store graphs; we do not
#include <cudnn_frontend.h>

#include "base/error.h"
#include "ops/cuda/conv_call.h"
#include "ops/cuda/launch.h"
#include "ops/kernels.h"
#include "ops/rounded_up.h"

namespace orrery::kernels::cuda {
namespace {

namespace fe = cudnn_frontend;
using fe::graph::Tensor_attributes;

constexpr int64_t kTime = 2;
constexpr int64_t kVector = 8;  // channels: tensor cores' kernels read 16 bytes of half types at a time
constexpr uintptr_t kAlignment = 16;
constexpr size_t kMaxPlans = 512;  // of a thread; the autoencoder has about 25 a size of window
constexpr size_t kMaxText = 600;   // of a refusal
constexpr int64_t kMaxWorkspace = int64_t{1} << 30;
constexpr int64_t kMaxElements = (int64_t{1} << 31) - 1;  // of a tensor of one call: kernels count in 32 bits
constexpr int64_t kTimedPlans = 6, kTimedRuns = 2;        // with at::Context's cuDNN benchmark

// cuDNN knows the tensors of a call by these numbers.
enum Place : int64_t { kX = 1, kWeight, kBias, kResidual, kOut };

// A call as cuDNN is told of it, batch and channels first, then the axes of space. Kernels of one frame, and
// those of one pixel, are two-dimensional, for which it has more engines.
struct Shapes {
  Shape x, weight, out, stride, before, after;
};

struct Plan {
  fe::graph::Graph graph;
  int64_t index = -1;  // among those of the heuristics; -1: the one that they chose
  int64_t workspace_bytes = 0;
  bool is_fused = false;  // with bias and residual
  std::string engine;
  std::string refusal;  // why cuDNN cannot run it; empty where it can
  float ms = 0;         // where it was timed
};
using PlanKey = std::vector<int64_t>;

// Per thread: a plan is used with the thread's cuDNN handle, and needs no lock.
struct ThreadState {
  std::map<PlanKey, std::unique_ptr<Plan>> plans;
  FusedConv counts;
};
ThreadState& thread_state() {
  thread_local ThreadState state;
  return state;
}

Shapes shapes_of(const ConvCall& call) {
  const auto x = call.x.sizes(), w = call.weight.sizes(), y = call.out.sizes();
  const auto& [stride, before, after] = call.geometry;
  if (w[2] == 1 && stride[0] == 1)
    return {.x = {x[0] * x[2], x[1], x[3], x[4]},
            .weight = {w[0], w[1], w[3], w[4]},
            .out = {y[0] * y[2], y[1], y[3], y[4]},
            .stride = {stride[1], stride[2]},
            .before = {before[1], before[2]},
            .after = {after[1], after[2]}};
  const bool is_pixel =
      w[3] == 1 && w[4] == 1 && stride[1] == 1 && stride[2] == 1 && x[3] == y[3] && x[4] == y[4];
  if (is_pixel)
    return {.x = {x[0], x[1], x[2], x[3] * x[4]},
            .weight = {w[0], w[1], w[2], 1},
            .out = {y[0], y[1], y[2], y[3] * y[4]},
            .stride = {stride[0], 1},
            .before = {0, 0},
            .after = {0, 0}};
  return {.x = x.vec(),
          .weight = w.vec(),
          .out = y.vec(),
          .stride = {stride.begin(), stride.end()},
          .before = {before.begin(), before.end()},
          .after = {after.begin(), after.end()}};
}

// Of a dense tensor with the channels innermost.
Shape strides_of(const Shape& sizes) {
  Shape strides(sizes.size(), 1);
  int64_t packed = sizes[1];
  for (size_t dim = sizes.size() - 1; dim >= 2; --dim) {
    strides[dim] = packed;
    packed *= sizes[dim];
  }
  strides[0] = packed;
  return strides;
}

void describe(Tensor_attributes& tensor, Place place, const Shape& sizes, at::ScalarType type) {
  tensor.set_uid(place).set_dim(sizes).set_stride(strides_of(sizes));
  tensor.set_data_type(type == at::kHalf ? fe::DataType_t::HALF : fe::DataType_t::BFLOAT16);
}

void draw_graph(fe::graph::Graph& graph, const ConvCall& call, bool is_fused) {
  const Shapes shapes = shapes_of(call);
  const at::ScalarType type = call.x.scalar_type();
  const auto input = [&](Place place, const Shape& sizes) {
    Tensor_attributes tensor;
    describe(tensor, place, sizes, type);
    return graph.tensor(tensor);
  };
  graph.set_intermediate_data_type(fe::DataType_t::FLOAT).set_compute_data_type(fe::DataType_t::FLOAT);
  auto y = graph.conv_fprop(input(kX, shapes.x), input(kWeight, shapes.weight),
                            fe::graph::Conv_fprop_attributes()
                                .set_name("conv3d")
                                .set_pre_padding(shapes.before)
                                .set_post_padding(shapes.after)
                                .set_stride(shapes.stride)
                                .set_dilation(Shape(shapes.stride.size(), 1)));
  const auto add = [&](const std::shared_ptr<Tensor_attributes>& term) {
    y->set_dim(shapes.out).set_stride(strides_of(shapes.out));
    y = graph.pointwise(y, term, fe::graph::Pointwise_attributes().set_mode(fe::PointwiseMode_t::ADD));
  };
  if (is_fused && call.bias.defined()) {
    Shape sizes(shapes.out.size(), 1);
    sizes[1] = shapes.out[1];
    add(input(kBias, sizes));
  }
  if (is_fused && call.residual.defined()) add(input(kResidual, shapes.out));
  describe(*y, kOut, shapes.out, type);
  y->set_output(true);
}

// The plans that heuristics name, of which the first that can run is ready.
fe::error_t prepare(fe::graph::Graph& graph) {
  const cudnnHandle_t handle = at::native::getCudnnHandle();
  fe::error_t status = graph.validate();
  if (status.is_good()) status = graph.build_operation_graph(handle);
  if (status.is_good()) status = graph.create_execution_plans({fe::HeurMode_t::A, fe::HeurMode_t::FALLBACK});
  if (status.is_bad()) return status;
  graph.deselect_numeric_notes(
      {fe::NumericalNote_t::NONDETERMINISTIC, fe::NumericalNote_t::REDUCED_PRECISION_REDUCTION});
  graph.deselect_workspace_greater_than(kMaxWorkspace);
  status = graph.check_support();
  return status.is_good() ? graph.build_plans(fe::BuildPlanPolicy_t::HEURISTICS_CHOICE) : status;
}

std::unique_ptr<Plan> build(const ConvCall& call, bool is_fused) {
  auto plan = std::make_unique<Plan>();
  plan->is_fused = is_fused;
  fe::error_t status;
  try {
    draw_graph(plan->graph, call, is_fused);
    status = prepare(plan->graph);
    if (status.is_good()) status = plan->graph.get_workspace_size(plan->workspace_bytes);
    if (status.is_good()) status = plan->graph.get_plan_name(plan->engine);
  } catch (const std::runtime_error& error) {  // the frontend throws where no implementation is left
    status = {fe::error_code_t::GRAPH_NOT_SUPPORTED, error.what()};
  }
  if (status.is_bad())
    plan->refusal = text_of("cuDNN ", cudnnGetVersion(), ": ", status.err_msg.substr(0, kMaxText), " (error ",
                            static_cast<int>(status.code), ")");
  return plan;
}

// Bias and residual of a half type.
void add_rest(const ConvCall& call) {
  if (!call.bias.defined() && !call.residual.defined()) return;
  launch(BiasAdd{.y = call.out.data_ptr(),
                 .bias = call.bias.defined() ? call.bias.const_data_ptr() : nullptr,
                 .residual = call.residual.defined() ? call.residual.const_data_ptr() : nullptr,
                 .pixels = call.out.numel() / call.out.size(1),
                 .channels = call.out.size(1)},
         *type_of(call.out), c10::cuda::getCurrentCUDAStream());
  C10_CUDA_KERNEL_LAUNCH_CHECK();
}

// Once, on the current stream.
fe::error_t execute(const Plan& plan, const ConvCall& call) {
  std::unordered_map<int64_t, void*> pointers{{kX, const_cast<void*>(call.x.const_data_ptr())},
                                              {kWeight, const_cast<void*>(call.weight.const_data_ptr())},
                                              {kOut, call.out.data_ptr()}};
  if (plan.is_fused && call.bias.defined()) pointers[kBias] = const_cast<void*>(call.bias.const_data_ptr());
  if (plan.is_fused && call.residual.defined())
    pointers[kResidual] = const_cast<void*>(call.residual.const_data_ptr());
  const c10::DataPtr workspace =
      c10::cuda::CUDACachingAllocator::get()->allocate(static_cast<size_t>(plan.workspace_bytes));
  const cudnnHandle_t handle = at::native::getCudnnHandle();
  const fe::error_t status =
      plan.index < 0 ? plan.graph.execute(handle, pointers, workspace.get())
                     : plan.graph.execute_plan_at_index(handle, pointers, workspace.get(), plan.index);
  if (status.is_good() && !plan.is_fused) add_rest(call);
  return status;
}

// Milliseconds of a call, the least of some; infinite where it fails.
float time_of(const Plan& plan, const ConvCall& call) {
  const auto stream = c10::cuda::getCurrentCUDAStream();
  float least = std::numeric_limits<float>::infinity();
  for (int64_t i = 0; i < 1 + kTimedRuns; ++i) {
    c10::cuda::CUDAEvent begin(cudaEventDefault), end(cudaEventDefault);
    begin.record(stream);
    if (execute(plan, call).is_bad()) return std::numeric_limits<float>::infinity();
    end.record(stream);
    end.synchronize();
    if (i > 0) least = std::min(least, begin.elapsed_time(end));  // the first is for warming up
  }
  return least;
}

// The fastest of the first plans that the heuristics name.
std::unique_ptr<Plan> fastest(const ConvCall& call, bool is_fused) {
  auto plan = build(call, is_fused);
  if (!plan->refusal.empty()) return plan;
  int64_t best_index = -1, best_bytes = 0;
  float best_ms = std::numeric_limits<float>::infinity();
  const int64_t count = std::min(plan->graph.get_execution_plan_count(), kTimedPlans);
  for (int64_t i = 0; i < count; ++i) {
    int64_t bytes = 0;
    if (plan->graph.build_plan_at_index(i).is_bad() ||
        plan->graph.get_workspace_size_plan_at_index(i, bytes).is_bad() || bytes > kMaxWorkspace)
      continue;
    plan->index = i;
    plan->workspace_bytes = bytes;
    const float ms = time_of(*plan, call);
    if (ms >= best_ms) continue;
    best_ms = ms;
    best_index = i;
    best_bytes = bytes;
    if (plan->graph.get_plan_name_at_index(i, plan->engine).is_bad()) plan->engine = "unnamed";
  }
  if (best_index < 0) return build(call, is_fused);  // the graph's own choice is the last that was built
  plan->index = best_index;
  plan->workspace_bytes = best_bytes;
  plan->ms = best_ms;
  return plan;
}

std::unique_ptr<Plan> make_plan(const ConvCall& call) {
  const bool by_time = at::globalContext().benchmarkCuDNN(),
             has_more = call.bias.defined() || call.residual.defined();
  auto fused = by_time ? fastest(call, true) : build(call, true);
  if (!has_more || (!by_time && fused->refusal.empty())) return fused;
  auto plain = by_time ? fastest(call, false) : build(call, false);
  const bool is_better = !fused->refusal.empty() || (plain->refusal.empty() && plain->ms < fused->ms);
  return is_better ? std::move(plain) : std::move(fused);
}

PlanKey key_of(const ConvCall& call) {
  PlanKey key{call.x.get_device(), static_cast<int64_t>(call.x.scalar_type()),
              at::globalContext().benchmarkCuDNN(), call.bias.defined(), call.residual.defined()};
  for (const at::Tensor* t : {&call.x, &call.weight, &call.out})
    key.insert(key.end(), t->sizes().begin(), t->sizes().end());
  for (const auto& axes : {call.geometry.stride, call.geometry.pad_before, call.geometry.pad_after})
    key.insert(key.end(), axes.begin(), axes.end());
  return key;
}

const Plan& plan_for(const ConvCall& call) {
  ThreadState& state = thread_state();
  PlanKey key = key_of(call);
  if (const auto found = state.plans.find(key); found != state.plans.end()) return *found->second;
  if (state.plans.size() >= kMaxPlans) {
    c10::cuda::device_synchronize();  // their kernels may still run
    state.plans.clear();
  }
  const Plan& plan = *state.plans.emplace(std::move(key), make_plan(call)).first->second;
  ++state.counts.plans;
  state.counts.engines.push_back(text_of(call.x.sizes(), " * ", call.weight.sizes(), ": ",
                                         plan.refusal.empty() ? plan.engine : "refused, " + plan.refusal,
                                         plan.is_fused ? ", fused" : "",
                                         plan.ms > 0 ? text_of(", ", plan.ms, " ms") : ""));
  return plan;
}

// Returns why cuDNN does not take the call; empty when it ran.
std::string run(const ConvCall& call) {
  const Plan& plan = plan_for(call);
  if (!plan.refusal.empty()) return plan.refusal;
  const fe::error_t status = execute(plan, call);
  require(status.is_good(), "conv3d: cuDNN ", cudnnGetVersion(), " failed on x ", call.x.sizes(), ", weight ",
          call.weight.sizes(), " of type ", call.x.scalar_type(), ", engine ", plan.engine, ": ",
          status.err_msg);
  ++(plan.is_fused ? thread_state().counts.fused : thread_state().counts.plain);
  return {};
}

bool is_aligned(const at::Tensor& t) {
  return reinterpret_cast<uintptr_t>(t.const_data_ptr()) % kAlignment == 0;
}
at::Tensor channels_last(const at::Tensor& x) {
  const at::Tensor dense = x.contiguous(at::MemoryFormat::ChannelsLast3d);
  return is_aligned(dense) ? dense : dense.clone(at::MemoryFormat::ChannelsLast3d);
}
at::Tensor in_line(const at::Tensor& bias) {
  const at::Tensor dense = bias.defined() ? bias.contiguous() : bias;
  return !dense.defined() || is_aligned(dense) ? dense : dense.clone();
}

// x with zeros where cuDNN would have to add them, but for `geometry`'s that are cleared.
at::Tensor with_zeros(const at::Tensor& x, ConvGeometry& g) {
  const at::Tensor padded = at::constant_pad_nd(
      x, {g.pad_before[2], g.pad_after[2], g.pad_before[1], g.pad_after[1], g.pad_before[0], g.pad_after[0]});
  g.pad_before = g.pad_after = {0, 0, 0};
  return padded;
}

// By ATen, which calls cuDNN's older interface. In float32 and float64 without rounding inputs to TF32.
void run_aten(ConvCall call) {
  call.x = with_zeros(call.x, call.geometry);
  call.out.copy_(at::cudnn_convolution(call.x, call.weight, {0, 0, 0}, call.geometry.stride, {1, 1, 1}, 1,
                                       /*benchmark=*/false, /*deterministic=*/true, /*allow_tf32=*/false));
  if (call.bias.defined()) call.out.add_(call.bias.view({1, -1, 1, 1, 1}));
  if (call.residual.defined()) call.out.add_(call.residual);
}

bool is_of_half_type(const at::Tensor& t) {
  return t.scalar_type() == at::kBFloat16 || t.scalar_type() == at::kHalf;
}

void run_or_fall_back(ConvCall call) {
  if (is_for_wgmma(call.weight, call.geometry) && run_wgmma(call)) {
    ++thread_state().counts.own;
    return;
  }
  std::string refusal = "type that is not a half one";
  if (is_of_half_type(call.x)) {
    refusal = run(call);
    if (!refusal.empty() && call.geometry.pad_before != call.geometry.pad_after) {
      call.x = channels_last(with_zeros(call.x, call.geometry));
      refusal = run(call);
    }
    if (refusal.empty()) return;
  }
  run_aten(call);
  ++thread_state().counts.refused;
  thread_state().counts.last_refusal = refusal;
}

// Frames [begin, begin + count) of the result.
ConvCall frames_of(const ConvCall& call, int64_t begin, int64_t count) {
  const int64_t step = call.geometry.stride[0], taps = call.weight.size(kTime);
  const auto part = [&](const at::Tensor& t) { return t.defined() ? t.narrow(kTime, begin, count) : t; };
  ConvCall out = call;
  out.x = call.x.narrow(kTime, begin * step, (count - 1) * step + taps);
  out.residual = part(call.residual);
  out.out = part(call.out);
  return out;
}

// In parts whose tensors are dense and small enough.
void run_in_parts(const ConvCall& call) {
  const int64_t batch = call.x.size(0), frames = call.out.size(kTime);
  if (std::max(call.x.numel(), call.out.numel()) <= kMaxElements || batch * frames == 1)
    return run_or_fall_back(call);
  if (batch > 1) {
    for (int64_t b = 0; b < batch; ++b) {
      ConvCall one = call;
      for (at::Tensor* t : {&one.x, &one.residual, &one.out})
        if (t->defined()) *t = t->narrow(0, b, 1);
      run_in_parts(one);
    }
    return;
  }
  run_in_parts(frames_of(call, 0, frames / 2));
  run_in_parts(frames_of(call, frames / 2, frames - frames / 2));
}

// Zeros up to `size` along dim.
at::Tensor widened(const at::Tensor& t, int64_t dim, int64_t size) {
  if (!t.defined() || t.size(dim) == size) return t;
  if (dim == 1 && t.dim() == 5 && is_of_half_type(t)) return with_channels(t, size);
  std::vector<int64_t> zeros(2 * static_cast<size_t>(t.dim() - dim), 0);
  zeros.back() = size - t.size(dim);
  return at::constant_pad_nd(t, zeros);
}

// The frames that the convolution reads: history, x and zeros in time, which are cleared in `geometry`.
at::Tensor joined(const at::Tensor& x, const at::Tensor& history, ConvGeometry& geometry) {
  const int64_t before = geometry.pad_before[0] + (history.defined() ? history.size(kTime) : 0);
  at::Tensor frames = x;
  if (before > 0) {
    frames = halo_buffer(x, history, x.sizes(), {.frames = before});
    frames.narrow(kTime, before, x.size(kTime)).copy_(x);
  }
  if (geometry.pad_after[0] > 0) frames = at::constant_pad_nd(frames, {0, 0, 0, 0, 0, geometry.pad_after[0]});
  geometry.pad_before[0] = geometry.pad_after[0] = 0;
  return frames;
}

int64_t result_size(int64_t length, int64_t taps, int64_t stride) {
  return (length - taps) / stride + 1;
}

}  // namespace

at::Tensor conv3d(const at::Tensor& x, const at::Tensor& history, const at::Tensor& weight,
                  const at::Tensor& bias, const at::Tensor& residual, const ConvGeometry& geometry) {
  const c10::cuda::CUDAGuard device(x.device());
  ConvGeometry g = geometry;
  const at::Tensor frames = joined(x, history, g);
  const int64_t outputs = weight.size(0), wide = rounded_up(outputs, kVector);
  const int64_t channels = rounded_up(x.size(1), is_for_wgmma(weight, g) ? wgmma_channels() : kVector);
  const bool is_wide = outputs == wide;
  ConvCall call{.x = channels_last(widened(frames, 1, channels)),
                .weight = channels_last(widened(widened(weight, 1, channels), 0, wide)),
                .bias = widened(in_line(bias), 0, wide),
                .residual = residual.defined() && is_wide ? channels_last(residual) : at::Tensor(),
                .out = {},
                .geometry = g};
  Shape sizes{x.size(0), call.weight.size(0)};
  for (int64_t axis = 0; axis < 3; ++axis)
    sizes.push_back(result_size(frames.size(axis + 2) + g.pad_before[axis] + g.pad_after[axis],
                                weight.size(axis + 2), g.stride[axis]));
  call.out = at::empty(sizes, x.options(), at::MemoryFormat::ChannelsLast3d);
  if (call.out.numel() > 0) run_in_parts(call);
  if (is_wide) return call.out;
  const at::Tensor y = call.out.narrow(1, 0, outputs);
  return residual.defined() ? y + residual : y;
}

FusedConv fused_conv() {
  return thread_state().counts;
}

}  // namespace orrery::kernels::cuda
