#include "base/config.h"

#include <array>

namespace orrery {
namespace {

template <class... Words>
constexpr std::array<std::string_view, sizeof...(Words)> words(Words... w) {
  return {w...};
}

constexpr auto kDtype = words("float32", "bfloat16", "float64");
constexpr auto kDevice = words("cpu", "cuda");
constexpr auto kDataKind = words("video_folder");
constexpr auto kResize = words("stretch", "pad");
constexpr auto kLrSchedule = words("constant", "linear", "cosine", "lambda_linear", "lambda_cosine");
constexpr auto kNonFinite = words("stop", "skip", "zero");
constexpr auto kEma = words("none", "constant", "power", "flow_grpo");
constexpr auto kTimeTable = words("discrete", "continuous");
constexpr auto kTimeLaw = words("logit_normal", "uniform", "waver");
constexpr auto kUncached = words("encode", "refuse");
constexpr auto kTokenizerKind = words("linear", "wan");
constexpr auto kTextKind = words("hash", "reason1", "t5", "table");
constexpr auto kLayerJoin = words("full_concat", "mean_pooling", "pool_every_n_layers_and_concat");
constexpr auto kMemoryPolicy = words("none", "full", "mm_only", "block_wise", "linear_selfattn",
                                     "predict2_2b_720", "predict2_14b_720", "predict2_2b_720_aggressive",
                                     "predict2_2b_720_aggressive_v2", "predict2_14b_720_aggressive", "auto");
constexpr auto kSamplerKind = words("unipc", "euler");
constexpr auto kSigmas = words("linear", "karras");
constexpr auto kGuidance = words("v2w", "t2w");
constexpr auto kWeights = words("ema", "model");
constexpr auto kWhenBusy = words("wait", "skip");

}  // namespace

std::span<const std::string_view> names_of(Dtype) {
  return kDtype;
}
std::span<const std::string_view> names_of(Device) {
  return kDevice;
}
std::span<const std::string_view> names_of(DataKind) {
  return kDataKind;
}
std::span<const std::string_view> names_of(Resize) {
  return kResize;
}
std::span<const std::string_view> names_of(LrSchedule) {
  return kLrSchedule;
}
std::span<const std::string_view> names_of(NonFinite) {
  return kNonFinite;
}
std::span<const std::string_view> names_of(Ema) {
  return kEma;
}
std::span<const std::string_view> names_of(TimeTable) {
  return kTimeTable;
}
std::span<const std::string_view> names_of(TimeLaw) {
  return kTimeLaw;
}
std::span<const std::string_view> names_of(Uncached) {
  return kUncached;
}
std::span<const std::string_view> names_of(TokenizerKind) {
  return kTokenizerKind;
}
std::span<const std::string_view> names_of(TextKind) {
  return kTextKind;
}
std::span<const std::string_view> names_of(LayerJoin) {
  return kLayerJoin;
}
std::span<const std::string_view> names_of(MemoryPolicy) {
  return kMemoryPolicy;
}
std::span<const std::string_view> names_of(SamplerKind) {
  return kSamplerKind;
}
std::span<const std::string_view> names_of(Sigmas) {
  return kSigmas;
}
std::span<const std::string_view> names_of(Guidance) {
  return kGuidance;
}
std::span<const std::string_view> names_of(Weights) {
  return kWeights;
}
std::span<const std::string_view> names_of(WhenBusy) {
  return kWhenBusy;
}

}  // namespace orrery
