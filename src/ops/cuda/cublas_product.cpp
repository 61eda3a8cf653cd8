// Products of matrices by cuBLASLt, which counts columns first: a row-major (m,n) is (n,m) to it, so it is
// asked for out^T = b^T a^T. Plans are kept per thread, for which they need no lock.
#include <ATen/cuda/CUDAContextLight.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/mm.h>
#include <c10/cuda/CUDACachingAllocator.h>
#include <c10/cuda/CUDAEvent.h>
#include <c10/cuda/CUDAFunctions.h>
#include <c10/cuda/CUDAGuard.h>
#include <cublasLt.h>

#include <algorithm>
#include <array>
#include <limits>
#include <map>
#include <memory>
#include <optional>

#include "base/error.h"
#include "ops/product.h"

namespace orrery::kernels::cuda {
namespace {

constexpr int kAlgorithms = 16;
constexpr size_t kTimedRounds = 5;
constexpr float kWorthIt = 0.98F;                       // of the first choice's time: what is nearer is noise
constexpr uint64_t kMaxWorkspace = uint64_t{32} << 20;  // cuBLAS's own on Hopper
constexpr uintptr_t kMaxAlignment = 256;
constexpr size_t kMaxPlans = 512;  // of a thread; a network has about 20 a size of batch
// Partial sums that algorithms keep in memory are float32.
constexpr uint32_t kReductions = CUBLASLT_REDUCTION_SCHEME_NONE | CUBLASLT_REDUCTION_SCHEME_COMPUTE_TYPE;
constexpr float kNever = std::numeric_limits<float>::infinity();

// A matrix as it lies: rows `stride` elements apart, or columns where it is transposed.
struct Layout {
  int64_t stride;
  bool is_transposed;
};

std::optional<Layout> layout_of(const at::Tensor& t) {
  const auto rows_of = [](int64_t rows, int64_t width, int64_t apart,
                          int64_t step) -> std::optional<int64_t> {
    if (width > 1 && step != 1) return std::nullopt;
    if (rows == 1) return width;
    return apart >= width ? std::optional(apart) : std::nullopt;
  };
  if (const auto stride = rows_of(t.size(0), t.size(1), t.stride(0), t.stride(1)))
    return Layout{*stride, false};
  if (const auto stride = rows_of(t.size(1), t.size(0), t.stride(1), t.stride(0)))
    return Layout{*stride, true};
  return std::nullopt;
}

struct Call {
  at::Tensor a, b, out;
  Layout a_layout, b_layout;
};

std::string text_of_call(const Call& c) {
  const auto part = [](const at::Tensor& t, const Layout& layout) {
    return text_of(t.sizes(), layout.is_transposed ? " by columns " : " by rows ", layout.stride, " apart");
  };
  return text_of(part(c.a, c.a_layout), " times ", part(c.b, c.b_layout), " of ", c.a.scalar_type());
}

std::string text_of_status(cublasStatus_t status) {
  return text_of("cuBLASLt ", cublasLtGetVersion(), ": ", cublasLtGetStatusString(status), " (status ",
                 static_cast<int>(status), ")");
}

void check(cublasStatus_t status, const char* what, const Call& call) {
  if (status == CUBLAS_STATUS_SUCCESS) return;  // before texts are made: this is the host's path of each step
  fail("product: ", what, " of ", text_of_call(call), ": ", text_of_status(status));
}

// Of cuBLASLt's operands the left one is b, the right one a. Its descriptors lie in the plan, which stays
// where it was made.
struct Plan {
  cublasLtMatmulDescOpaque_t operation = {};
  cublasLtMatrixLayoutOpaque_t left = {}, right = {}, out = {};
  cublasLtMatmulAlgo_t algorithm = {};
  size_t workspace_bytes = 0;
  std::string refusal;  // why cuBLASLt cannot run it; empty where it can
};
using PlanKey = std::array<int64_t, 12>;

struct ThreadState {
  std::map<PlanKey, std::unique_ptr<Plan>> plans;
  Products counts;
};
ThreadState& thread_state() {
  thread_local ThreadState state;
  return state;
}

uint32_t alignment_of(const at::Tensor& t) {
  const auto address = reinterpret_cast<uintptr_t>(t.const_data_ptr());
  return static_cast<uint32_t>(std::min(address & (~address + 1), kMaxAlignment));
}

cudaDataType_t type_of(const at::Tensor& t) {
  return t.scalar_type() == at::kHalf ? CUDA_R_16F : CUDA_R_16BF;
}

void describe(cublasLtMatrixLayout_t layout, const at::Tensor& t, const Layout& as_it_lies,
              const Call& call) {
  const auto rows = static_cast<uint64_t>(t.size(as_it_lies.is_transposed ? 0 : 1)),
             columns = static_cast<uint64_t>(t.size(as_it_lies.is_transposed ? 1 : 0));
  check(cublasLtMatrixLayoutInit(layout, type_of(t), rows, columns, as_it_lies.stride), "layout", call);
}

void describe(Plan& plan, const Call& call) {
  check(cublasLtMatmulDescInit(&plan.operation, CUBLAS_COMPUTE_32F, CUDA_R_32F), "description", call);
  const auto transpose = [&](cublasLtMatmulDescAttributes_t which, const Layout& layout) {
    const int32_t operation = layout.is_transposed ? CUBLAS_OP_T : CUBLAS_OP_N;
    check(cublasLtMatmulDescSetAttribute(&plan.operation, which, &operation, sizeof operation),
          "transposition", call);
  };
  transpose(CUBLASLT_MATMUL_DESC_TRANSA, call.b_layout);
  transpose(CUBLASLT_MATMUL_DESC_TRANSB, call.a_layout);
  describe(&plan.left, call.b, call.b_layout, call);
  describe(&plan.right, call.a, call.a_layout, call);
  describe(&plan.out, call.out, {call.out.size(1), false}, call);
}

// The algorithms that cuBLAS names for a call, those first that it takes for the fastest.
std::vector<cublasLtMatmulHeuristicResult_t> algorithms_for(Plan& plan, const Call& call) {
  cublasLtMatmulPreferenceOpaque_t preference = {};
  check(cublasLtMatmulPreferenceInit(&preference), "preference", call);
  const auto prefer = [&](cublasLtMatmulPreferenceAttributes_t which, const auto& value) {
    check(cublasLtMatmulPreferenceSetAttribute(&preference, which, &value, sizeof value), "preference", call);
  };
  prefer(CUBLASLT_MATMUL_PREF_MAX_WORKSPACE_BYTES, kMaxWorkspace);
  prefer(CUBLASLT_MATMUL_PREF_REDUCTION_SCHEME_MASK, kReductions);
  prefer(CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_A_BYTES, alignment_of(call.b));
  prefer(CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_B_BYTES, alignment_of(call.a));
  prefer(CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_C_BYTES, alignment_of(call.out));
  prefer(CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_D_BYTES, alignment_of(call.out));
  std::vector<cublasLtMatmulHeuristicResult_t> found(kAlgorithms);
  int count = 0;
  const cublasStatus_t status = cublasLtMatmulAlgoGetHeuristic(
      at::cuda::getCurrentCUDABlasLtHandle(), &plan.operation, &plan.left, &plan.right, &plan.out, &plan.out,
      &preference, kAlgorithms, found.data(), &count);
  found.resize(status == CUBLAS_STATUS_SUCCESS ? static_cast<size_t>(count) : 0);
  std::erase_if(found, [](const auto& one) { return one.state != CUBLAS_STATUS_SUCCESS; });
  if (found.empty())
    plan.refusal = status == CUBLAS_STATUS_SUCCESS ? "no algorithm fits" : text_of_status(status);
  return found;
}

// Once, on the current stream.
cublasStatus_t execute(const Plan& plan, const Call& call) {
  const float one = 1, zero = 0;
  const c10::DataPtr workspace = c10::cuda::CUDACachingAllocator::get()->allocate(plan.workspace_bytes);
  // cuBLASLt reads descriptors, though it asks for them as if it wrote.
  auto& p = const_cast<Plan&>(plan);
  void* const out = call.out.data_ptr();
  return cublasLtMatmul(at::cuda::getCurrentCUDABlasLtHandle(), &p.operation, &one, call.b.const_data_ptr(),
                        &p.left, call.a.const_data_ptr(), &p.right, &zero, out, &p.out, out, &p.out,
                        &p.algorithm, workspace.get(), p.workspace_bytes, c10::cuda::getCurrentCUDAStream());
}

// Milliseconds of a call; kNever where it fails.
float time_of(const Plan& plan, const Call& call) {
  const auto stream = c10::cuda::getCurrentCUDAStream();
  c10::cuda::CUDAEvent begin(cudaEventDefault), end(cudaEventDefault);
  begin.record(stream);
  if (execute(plan, call) != CUBLAS_STATUS_SUCCESS) return kNever;
  end.record(stream);
  end.synchronize();
  return begin.elapsed_time(end);
}

void choose(Plan& plan, const cublasLtMatmulHeuristicResult_t& one) {
  plan.algorithm = one.algo;
  plan.workspace_bytes = one.workspaceSize;
}

// Median milliseconds of a call by each algorithm, kNever where it fails. They run in turn, so that a card
// that slows down as it warms up slows all of them down.
std::vector<float> times_of(Plan& plan, const std::vector<cublasLtMatmulHeuristicResult_t>& algorithms,
                            const Call& call) {
  std::vector<std::array<float, kTimedRounds>> all(algorithms.size());
  for (size_t round = 0; round <= kTimedRounds; ++round)
    for (size_t i = 0; i < algorithms.size(); ++i) {
      choose(plan, algorithms[i]);
      const float ms = time_of(plan, call);
      if (round > 0) all[i][round - 1] = ms;  // the round before loads the kernels
    }
  std::vector<float> medians;
  for (auto& times : all) {
    std::ranges::sort(times);
    medians.push_back(times.back() == kNever ? kNever : times[kTimedRounds / 2]);
  }
  return medians;
}

void choose_by_time(Plan& plan, const std::vector<cublasLtMatmulHeuristicResult_t>& found, const Call& call) {
  const std::vector<float> times = times_of(plan, found, call);
  const auto fastest = std::ranges::min_element(times),
             first = std::ranges::find_if(times, [](float ms) { return ms != kNever; });
  if (first == times.end()) {
    plan.refusal = text_of("none of ", found.size(), " algorithms ran");
    return;
  }
  const auto best = *fastest < kWorthIt * *first ? fastest : first;
  choose(plan, found[static_cast<size_t>(best - times.begin())]);
  const auto letter = [](const Layout& layout) { return layout.is_transposed ? 't' : 'n'; };
  thread_state().counts.timed.push_back(
      {.m = call.out.size(0),
       .k = call.a.size(1),
       .n = call.out.size(1),
       .layout = {letter(call.a_layout), letter(call.b_layout)},
       .type = call.a.scalar_type(),
       .tried = std::ranges::count_if(times, [](float ms) { return ms != kNever; }),
       .first_ms = *first,
       .best_ms = *best});
}

std::unique_ptr<Plan> make_plan(const Call& call) {
  auto plan = std::make_unique<Plan>();
  describe(*plan, call);
  const auto found = algorithms_for(*plan, call);
  if (found.empty()) return plan;
  if (chooses_by_time() && found.size() > 1)
    choose_by_time(*plan, found, call);
  else
    choose(*plan, found.front());
  return plan;
}

const Plan& plan_for(const Call& call) {
  ThreadState& state = thread_state();
  const PlanKey key{call.a.get_device(),  static_cast<int64_t>(call.a.scalar_type()),
                    chooses_by_time(),    call.a.size(0),
                    call.a.size(1),       call.b.size(1),
                    call.a_layout.stride, call.a_layout.is_transposed,
                    call.b_layout.stride, call.b_layout.is_transposed,
                    alignment_of(call.a), alignment_of(call.b)};
  if (const auto found = state.plans.find(key); found != state.plans.end()) return *found->second;
  if (state.plans.size() >= kMaxPlans) state.plans.clear();  // kernels under way need none of them
  const Plan& plan = *state.plans.emplace(key, make_plan(call)).first->second;
  state.counts.plans += plan.refusal.empty();
  return plan;
}

bool is_of_half_type(const at::Tensor& t) {
  return t.scalar_type() == at::kBFloat16 || t.scalar_type() == at::kHalf;
}

at::Tensor by_aten(const at::Tensor& a, const at::Tensor& b, const std::string& why) {
  ThreadState& state = thread_state();
  ++state.counts.refused;
  state.counts.last_refusal = why;
  return at::mm(a, b);
}

}  // namespace

at::Tensor product(const at::Tensor& a, const at::Tensor& b) {
  const bool is_product =
      a.is_cuda() && a.dim() == 2 && b.dim() == 2 && a.size(1) == b.size(0) && a.device() == b.device();
  if (!is_product || !is_of_half_type(a) || b.scalar_type() != a.scalar_type())
    return by_aten(a, b, "types or shapes that cuBLASLt is not asked for");
  if (a.numel() == 0 || b.numel() == 0) return by_aten(a, b, "an empty matrix");
  const auto a_layout = layout_of(a), b_layout = layout_of(b);
  if (!a_layout || !b_layout) return by_aten(a, b, "neither rows nor columns are dense");
  const c10::cuda::CUDAGuard device(a.device());
  const Call call{a, b, at::empty({a.size(0), b.size(1)}, a.options()), *a_layout, *b_layout};
  const Plan& plan = plan_for(call);
  if (!plan.refusal.empty()) return by_aten(a, b, plan.refusal);
  check(execute(plan, call), "run", call);
  ++thread_state().counts.runs;
  return call.out;
}

Products products() {
  return thread_state().counts;
}

}  // namespace orrery::kernels::cuda
