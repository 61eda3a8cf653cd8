// Attention with cuDNN's fused kernels, and the choice between these and others. cudnn-frontend describes the
// operation as a graph, for which cuDNN builds a plan; plans are kept, since building one is slow.
#include <ATen/Context.h>
#include <ATen/cuda/CUDAContextLight.h>
#include <ATen/cudnn/Handle.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/sum.h>
#include <c10/cuda/CUDACachingAllocator.h>
#include <c10/cuda/CUDAFunctions.h>
#include <c10/cuda/CUDAGuard.h>

#define CUDNN_FRONTEND_SKIP_JSON_LIB  // serves to store graphs; we do not
#include <cudnn_frontend.h>

#include <bit>
#include <cmath>

#include "base/error.h"
#include "ops/attention_tiles.h"
#include "ops/attention_workspace.h"
#include "ops/cuda/cudnn_attention.h"
#include "ops/cuda/launch.h"
#include "ops/cuda/tiled_attention.h"
#include "ops/cuda/wide_attention.h"
#include "ops/kernels.h"
#include "ops/numeric.h"
#include "ops/rounded_up.h"

namespace orrery::kernels::cuda {
namespace {

namespace fe = cudnn_frontend;
using fe::graph::Tensor_attributes;

constexpr size_t kMaxPlans = 256;  // of a thread; a run with a few buckets of shapes has some tens
constexpr size_t kMaxText = 600;   // of a refusal: cuDNN gives reasons for every kernel that it tried
constexpr int64_t kWidestHead = 256;
constexpr double kMaxScoreBytes = 8.0 * (int64_t{1} << 30);

// The tensors of a call in this order, forward the first five. q, out, dout and dq are (B,Sq,n,d), k, v, dk
// and dv (B,Sk,n,d), lse (B,n,Sq). cuDNN knows each by its place plus one.
enum Place : size_t { kQ, kK, kV, kOut, kLse, kDout, kDq, kDk, kDv };
using Operands = std::vector<at::Tensor>;

struct Settings {
  double scale;
  bool deterministic;  // of backward
};

struct Plan {
  fe::graph::Graph graph;
  int64_t workspace_bytes = 0;
  std::string refusal;  // why cuDNN cannot run it; empty where it can
};
using PlanKey = std::vector<int64_t>;

// Per thread: a plan is used with the thread's cuDNN handle, and needs no lock.
struct ThreadState {
  std::map<PlanKey, std::unique_ptr<Plan>> plans;
  FusedAttention counts;
};
ThreadState& thread_state() {
  thread_local ThreadState state;
  return state;
}

// In cuDNN's order (B,n,S,d); lse, always contiguous, is (B,n,S,1).
struct Layout {
  std::vector<int64_t> sizes, strides;
};

Layout layout_of(const at::Tensor& x) {
  if (x.dim() == 3) return {{x.size(0), x.size(1), x.size(2), 1}, {x.size(1) * x.size(2), x.size(2), 1, 1}};
  const auto stride = strides_of(x);
  return {{x.size(0), x.size(2), x.size(1), x.size(3)}, {stride[0], stride[2], stride[1], stride[3]}};
}

PlanKey key_of(const Operands& operands, const Settings& settings) {
  PlanKey key{operands[kQ].get_device(), static_cast<int64_t>(operands[kQ].scalar_type()),
              settings.deterministic, std::bit_cast<int64_t>(settings.scale)};
  for (const at::Tensor& x : operands) {
    const auto [sizes, strides] = layout_of(x);
    key.insert(key.end(), sizes.begin(), sizes.end());
    key.insert(key.end(), strides.begin(), strides.end());
  }
  return key;
}

// Sets what a tensor of the graph looks like.
void describe(Tensor_attributes& tensor, const Operands& operands, Place place) {
  const at::Tensor& x = operands[place];
  const auto [sizes, strides] = layout_of(x);
  const auto type = x.scalar_type() == at::kFloat      ? fe::DataType_t::FLOAT
                    : x.scalar_type() == at::kBFloat16 ? fe::DataType_t::BFLOAT16
                                                       : fe::DataType_t::HALF;
  tensor.set_uid(static_cast<int64_t>(place) + 1).set_dim(sizes).set_stride(strides).set_data_type(type);
}

void draw_graph(fe::graph::Graph& graph, const Operands& operands, const Settings& settings) {
  const auto input = [&](Place place) {
    Tensor_attributes tensor;
    describe(tensor, operands, place);
    return graph.tensor(tensor);
  };
  const auto output = [&](const std::shared_ptr<Tensor_attributes>& tensor, Place place) {
    describe(*tensor, operands, place);
    tensor->set_output(true);
  };
  const auto scale = static_cast<float>(settings.scale);
  graph.set_intermediate_data_type(fe::DataType_t::FLOAT).set_compute_data_type(fe::DataType_t::FLOAT);
  const auto q = input(kQ), k = input(kK), v = input(kV);
  if (operands.size() == kLse + 1) {
    auto options = fe::graph::SDPA_attributes().set_name("attention");
    options.set_generate_stats(true).set_attn_scale(scale);
    const auto [out, lse] = graph.sdpa(q, k, v, options);
    output(out, kOut);
    output(lse, kLse);
    return;
  }
  auto options = fe::graph::SDPA_backward_attributes().set_name("attention_backward");
  options.set_attn_scale(scale).set_deterministic_algorithm(settings.deterministic);
  const auto [dq, dk, dv] = graph.sdpa_backward(q, k, v, input(kOut), input(kDout), input(kLse), options);
  output(dq, kDq);
  output(dk, kDk);
  output(dv, kDv);
}

std::unique_ptr<Plan> build(const Operands& operands, const Settings& settings) {
  auto plan = std::make_unique<Plan>();
  fe::error_t status;
  try {
    draw_graph(plan->graph, operands, settings);
    status = plan->graph.build(at::native::getCudnnHandle(), {fe::HeurMode_t::A});
    if (status.is_good()) status = plan->graph.get_workspace_size(plan->workspace_bytes);
  } catch (const std::runtime_error& error) {  // the frontend throws where no implementation is left
    status = {fe::error_code_t::GRAPH_NOT_SUPPORTED, error.what()};
  }
  if (status.is_bad())
    plan->refusal = text_of("cuDNN ", cudnnGetVersion(), ": ", status.err_msg.substr(0, kMaxText), " (error ",
                            static_cast<int>(status.code), ")");
  return plan;
}

const Plan& plan_for(const Operands& operands, const Settings& settings) {
  ThreadState& state = thread_state();
  PlanKey key = key_of(operands, settings);
  if (const auto found = state.plans.find(key); found != state.plans.end()) return *found->second;
  if (state.plans.size() >= kMaxPlans) {
    c10::cuda::device_synchronize();  // their kernels may still run
    state.plans.clear();
  }
  ++state.counts.plans;
  return *state.plans.emplace(std::move(key), build(operands, settings)).first->second;
}

// Runs the call on the current stream. Returns why cuDNN does not take it; empty when it ran.
std::string run(const Operands& operands, const Settings& settings) {
  const Plan& plan = plan_for(operands, settings);
  if (!plan.refusal.empty()) return plan.refusal;
  std::unordered_map<int64_t, void*> pointers;
  for (size_t i = 0; i < operands.size(); ++i)
    pointers[static_cast<int64_t>(i) + 1] = const_cast<void*>(operands[i].const_data_ptr());
  const c10::DataPtr workspace =
      c10::cuda::CUDACachingAllocator::get()->allocate(static_cast<size_t>(plan.workspace_bytes));
  const fe::error_t status = plan.graph.execute(at::native::getCudnnHandle(), pointers, workspace.get());
  require(status.is_good(), "attention: cuDNN ", cudnnGetVersion(), " failed on q ", operands[kQ].sizes(),
          ", k ", operands[kK].sizes(), " of type ", operands[kQ].scalar_type(), ": ", status.err_msg);
  ++thread_state().counts.runs;
  return {};
}

// Heads [head, head + heads) of batch entries [entry, entry + entries).
Operands part_of(const Operands& operands, int64_t entry, int64_t entries, int64_t head, int64_t heads) {
  Operands part;
  for (size_t i = 0; i < operands.size(); ++i) {
    const at::Tensor x = operands[i].narrow(0, entry, entries).narrow(i == kLse ? 1 : 2, head, heads);
    part.push_back(i == kLse ? x.contiguous() : x);  // cuDNN reads packed ones only
  }
  return part;
}

// In as many parts as the workspace asks for.
std::string run_deterministic(const Operands& operands, const Settings& settings) {
  const int64_t batch = operands[kQ].size(0), heads = operands[kQ].size(2);
  const AttentionParts parts = deterministic_parts(operands[kQ].sizes(), operands[kK].sizes());
  for (int64_t entry = 0; entry < batch; entry += parts.entries)
    for (int64_t head = 0; head < heads; head += parts.heads) {
      const Operands part = part_of(operands, entry, std::min(parts.entries, batch - entry), head,
                                    std::min(parts.heads, heads - head));
      if (std::string refusal = run(part, settings); !refusal.empty()) return refusal;
    }
  return {};
}

// Backward's kernels walk over all queries for each block of kKeyBlock keys: a few keys, as of a text, keep
// few multiprocessors busy. So queries are cut into parts that count as batch entries, and the parts' dk and
// dv are summed. Parts are equal, and no more than give every multiprocessor kBlocksEach blocks.
constexpr int64_t kKeyBlock = 128, kBlocksEach = 4, kMinPartTokens = 512;
int64_t query_parts(const at::Tensor& q, const at::Tensor& k) {
  const int64_t tokens = q.size(1),
                blocks = q.size(0) * q.size(2) * (rounded_up(k.size(1), kKeyBlock) / kKeyBlock);
  const int64_t most =
      std::min(kBlocksEach * at::cuda::getCurrentDeviceProperties()->multiProcessorCount / blocks,
               tokens / kMinPartTokens);
  for (int64_t parts = most; parts > 1; --parts)
    if (tokens % parts == 0) return parts;
  return 1;
}

// The operands of backward with (B,S) queries as (B parts,S/parts), and dk and dv of each part.
Operands cut_queries(const Operands& operands, int64_t parts) {
  const auto cut = [&](const at::Tensor& x) {  // (B,S,n,d)
    return x.unflatten(1, {parts, x.size(1) / parts}).flatten(0, 1);
  };
  const auto repeated = [&](const at::Tensor& x) {
    return x.unsqueeze(1).expand({x.size(0), parts, x.size(1), x.size(2), x.size(3)}).flatten(0, 1);
  };
  const at::Tensor &lse = operands[kLse], k = repeated(operands[kK]), v = repeated(operands[kV]);
  return {cut(operands[kQ]),
          k,
          v,
          cut(operands[kOut]),
          lse.unflatten(2, {parts, lse.size(2) / parts}).transpose(1, 2).flatten(0, 1).contiguous(),
          cut(operands[kDout]),
          cut(operands[kDq]),
          at::empty(k.sizes(), k.options()),
          at::empty(v.sizes(), v.options())};
}

std::string run_backward(const Operands& operands, const Settings& settings) {
  return settings.deterministic ? run_deterministic(operands, settings) : run(operands, settings);
}

std::string run_backward_in_parts(const Operands& operands, const Settings& settings) {
  const int64_t parts = query_parts(operands[kQ], operands[kK]);
  if (parts == 1) return run_backward(operands, settings);
  const Operands cut = cut_queries(operands, parts);
  if (std::string refusal = run_backward(cut, settings); !refusal.empty()) return refusal;
  for (const Place place : {kDk, kDv}) {
    const at::Tensor terms = cut[place].unflatten(0, {operands[place].size(0), parts});
    operands[place].copy_(at::sum(terms, {1}, /*keepdim=*/false, at::kFloat));
  }
  return {};
}

// Why the fused kernels do not take such tensors; empty where cuDNN may.
std::string unsuited(const at::Tensor& q, const at::Tensor& k) {
  if (q.scalar_type() != at::kBFloat16 && q.scalar_type() != at::kHalf)
    return text_of("type ", q.scalar_type(), ", they take BFloat16 and Half");
  if (q.size(3) % 8 != 0) return text_of("head size ", q.size(3), ", they take multiples of 8");
  if (q.numel() == 0 || k.numel() == 0) return "no elements";
  return {};
}

// Heads for which products of matrices serve better: cuDNN's kernels end at kWidestHead.
bool is_wide(const at::Tensor& q, const at::Tensor& k) {
  const bool is_half = q.scalar_type() == at::kBFloat16 || q.scalar_type() == at::kHalf;
  return is_half && q.size(3) > kWidestHead && q.numel() > 0 && k.numel() > 0;
}

void require_small_scores(const at::Tensor& q, const at::Tensor& k, const std::string& refusal) {
  const double bytes = static_cast<double>(q.size(0) * q.size(2)) * static_cast<double>(q.size(1)) *
                       static_cast<double>(k.size(1)) *
                       static_cast<double>(c10::elementSize(acc_type(q.scalar_type())));
  require(bytes <= kMaxScoreBytes, "attention: q ", q.sizes(), " and k ", k.sizes(), " of type ",
          q.scalar_type(), " on ", q.device(), " would need a score matrix of ",
          std::llround(bytes / (1 << 30)), " GiB, at most 8 are allowed: cuDNN's kernels, which need none, ",
          "do not take them: ", refusal);
}

// Before the reference runs in place of the fused kernels.
void note_refusal(const at::Tensor& q, const at::Tensor& k, const std::string& refusal) {
  require_small_scores(q, k, refusal);
  ThreadState& state = thread_state();
  ++state.counts.refused;
  state.counts.last_refusal = refusal;
}

void note_untiled(double scale) {
  thread_state().counts.last_refusal = text_of(
      "our own kernels: the driver makes no tensor maps, or the scale ", scale, " is not a normal number");
}

}  // namespace

cpu::Attention attention(const at::Tensor& q, const at::Tensor& k, const at::Tensor& v, double scale) {
  const c10::cuda::CUDAGuard device(q.device());
  if (k.size(1) >= kMinTiledKeys && is_for_tiles(q, k)) {
    if (auto tiled = tiled_attention(q, k, v, scale)) {
      ++thread_state().counts.tiled;
      return *std::move(tiled);
    }
    note_untiled(scale);
  }
  return cudnn_attention(q, k, v, scale);
}

cpu::Attention cudnn_attention(const at::Tensor& q, const at::Tensor& k, const at::Tensor& v, double scale) {
  const c10::cuda::CUDAGuard device(q.device());
  std::string refusal = is_wide(q, k) ? "wide heads" : unsuited(q, k);
  if (refusal.empty()) {
    const at::Tensor out = at::empty(q.sizes(), q.options());
    const at::Tensor lse = at::empty({q.size(0), q.size(2), q.size(1)}, q.options().dtype(at::kFloat));
    refusal = run({aligned(q), aligned(k), aligned(v), out, lse}, {.scale = scale, .deterministic = false});
    if (refusal.empty()) return {out, lse};
  }
  if (is_wide(q, k)) {
    ++thread_state().counts.by_products;
    return wide_attention(q, k, v, scale);
  }
  note_refusal(q, k, refusal);
  return cpu::attention(q, k, v, scale);
}

cpu::AttentionGrads attention_backward(const at::Tensor& dout, const at::Tensor& q, const at::Tensor& k,
                                       const at::Tensor& v, const at::Tensor& out, const at::Tensor& lse,
                                       double scale) {
  const c10::cuda::CUDAGuard device(q.device());
  if (k.size(1) >= kMinTiledKeys && is_for_tiles(q, k)) {
    if (auto tiled = tiled_attention_backward(dout, q, k, v, out, lse, scale,
                                              at::globalContext().deterministicAlgorithms())) {
      ++thread_state().counts.tiled;
      return *std::move(tiled);
    }
    note_untiled(scale);
  }
  return cudnn_attention_backward(dout, q, k, v, out, lse, scale);
}

cpu::AttentionGrads cudnn_attention_backward(const at::Tensor& dout, const at::Tensor& q, const at::Tensor& k,
                                             const at::Tensor& v, const at::Tensor& out,
                                             const at::Tensor& lse, double scale) {
  const c10::cuda::CUDAGuard device(q.device());
  std::string refusal = unsuited(q, k);
  if (refusal.empty()) {
    const at::Tensor dq = at::empty(q.sizes(), q.options()), dk = at::empty(k.sizes(), k.options()),
                     dv = at::empty(v.sizes(), v.options());
    const Operands operands{aligned(q), aligned(k), aligned(v), aligned(out), lse.contiguous(), aligned(dout),
                            dq,         dk,         dv};
    const bool deterministic = at::globalContext().deterministicAlgorithms();
    refusal = run_backward_in_parts(operands, {.scale = scale, .deterministic = deterministic});
    if (refusal.empty()) return {dq, dk, dv};
  }
  note_refusal(q, k, refusal);
  return cpu::attention_backward(dout, q, k, v, out, lse, scale);
}

at::Tensor attention_jvp(const at::Tensor& q, const at::Tensor& k, const at::Tensor& v, const at::Tensor& out,
                         const at::Tensor& lse, const at::Tensor& tq, const at::Tensor& tk,
                         const at::Tensor& tv, double scale) {
  require_small_scores(q, k, "they have no tangents");
  return cpu::attention_jvp(q, k, v, out, lse, tq, tk, tv, scale);
}

FusedAttention fused_attention() {
  return thread_state().counts;
}

}  // namespace orrery::kernels::cuda
