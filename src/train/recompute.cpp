#include "train/recompute.h"

#include <ATen/ops/full.h>

#include <cmath>
#include <cstring>
#include <map>
#include <utility>

#include "autograd/save_policy.h"
#include "base/error.h"
#include "infer/world_model.h"
#include "ops/numeric.h"
#include "parallel/agreement.h"

namespace orrery {
namespace {

constexpr int64_t kTimedRuns = 5;

// Bytes that the ops of each label make.
std::map<std::string, int64_t> bytes_by_label(const UnitTrace& block) {
  std::map<std::string, int64_t> bytes;
  std::vector<char> seen(block.storage_bytes.size());
  for (const TracedOp& op : block.ops)
    for (const size_t value : op.outputs) {
      const size_t s = block.values[value].storage;
      if (s != TracedValue::kOutside && !std::exchange(seen[s], 1)) bytes[op.label] += block.storage_bytes[s];
    }
  return bytes;
}

// "all", "nothing", or the labels, without those that make less than a hundredth of what all keep.
std::string words(const KeptSet& set, const UnitTrace& block) {
  if (!set.is_unit) return "all";
  if (set.labels.empty()) return "nothing";
  auto bytes = bytes_by_label(block);
  const int64_t all = cost_without_recompute(block).kept_bytes;
  std::string out;
  int64_t num_small = 0;
  for (const std::string& label : set.labels) {
    const bool is_small = bytes[label] < all / 100;
    if (!is_small) out += (out.empty() ? "" : ", ") + label;
    num_small += is_small;
  }
  if (num_small == 0) return out;
  return text_of(out, out.empty() ? "" : " and ", num_small, " small ones");
}

std::string gib(int64_t bytes) {
  std::ostringstream out;
  out.precision(3);
  out << static_cast<double>(bytes) / (1 << 30) << " GiB";
  return out.str();
}

struct Measured {
  UnitTrace block;
  int64_t budget_bytes;
};

// The slowest rank's times and the smallest budget, on every rank.
Measured agreed(Comm& comm, Measured m) {
  std::string labels;
  for (const TracedOp& op : m.block.ops) labels += op.label + "\n";
  require_agreement(comm, "operations of a block", labels);
  std::vector<double> mine = {static_cast<double>(m.budget_bytes)};
  for (const TracedOp& op : m.block.ops) mine.push_back(op.seconds);
  const std::string_view packed(reinterpret_cast<const char*>(mine.data()), mine.size() * sizeof(double));
  for (const std::string& text : gather_texts(comm, "measured times", packed)) {
    std::vector<double> theirs(mine.size());
    std::memcpy(theirs.data(), text.data(), packed.size());
    m.budget_bytes = std::min(m.budget_bytes, static_cast<int64_t>(theirs[0]));
    for (size_t i = 0; i < m.block.ops.size(); ++i)
      m.block.ops[i].seconds = std::max(m.block.ops[i].seconds, theirs[i + 1]);
  }
  return m;
}

}  // namespace

std::vector<std::string> kept_labels(MemoryPolicy policy) {
  switch (policy) {
    case MemoryPolicy::none:
      return {"*"};
    case MemoryPolicy::full:
    case MemoryPolicy::block_wise:
    case MemoryPolicy::predict2_2b_720_aggressive_v2:
      return {};
    case MemoryPolicy::mm_only:
      return {"*.linear", "*.attention"};
    case MemoryPolicy::linear_selfattn:
      return {"*.linear", "*.self_attn.attention"};
    case MemoryPolicy::predict2_2b_720:
    case MemoryPolicy::predict2_14b_720:
      return {"*.self_attn.v_proj.linear", "*.self_attn.output_proj.linear", "*.self_attn.attention",
              "*.cross_attn.*_proj.linear", "*.mlp.layer1.linear"};
    case MemoryPolicy::predict2_2b_720_aggressive:
      return {"*.attention"};
    case MemoryPolicy::predict2_14b_720_aggressive:
      return {"*.cross_attn.v_proj.linear", "*.cross_attn.output_proj.linear", "*.mlp.layer1.linear"};
    case MemoryPolicy::automatic:
      break;
  }
  fail("memory.policy = ", name_of(policy),
       " is no fixed set: it needs the costs of the network's operations and the memory that is left for "
       "them");
}

void attach_recompute(DiT& net, MemoryPolicy policy) {
  std::shared_ptr<const SavePolicy> save;
  if (policy != MemoryPolicy::none) save = std::make_shared<SavePolicy>(kept_labels(policy));
  for (const auto& block : net.blocks) block->save_policy = save;
  net.final_layer.save_policy = save;
}

BlockShape block_shape(const Config& c, const Mesh& mesh) {
  constexpr int64_t kFrames = 4, kSide = 8;  // film frames and pixels of a latent one (model/tokenizer.h)
  const int64_t share = c.train.batch / mesh.data().size(), micro = c.train.micro_batch;
  const int64_t patch = kSide * dit_config(c).patch_spatial;
  return {.batch = micro > 0 ? std::min(micro, share) : share,
          .frames = std::max<int64_t>(1, (1 + (c.data.frames - 1) / kFrames) / mesh.context().size()),
          .rows = c.data.height / patch,
          .columns = c.data.width / patch,
          .text_tokens = text_tokens(c)};
}

UnitTrace trace_block(DiT& net, const BlockShape& s, int64_t timed_runs) {
  require(s.batch > 0 && s.frames > 0 && s.rows > 0 && s.columns > 0 && s.text_tokens > 0,
          "trace of a block: ", s.batch, " clips of ", s.frames, " x ", s.rows, " x ", s.columns,
          " patches and ", s.text_tokens, " text tokens");
  require(s.times == 1 || s.times == s.frames, "trace of a block: ", s.times, " timesteps for ", s.frames,
          " frames");
  const at::ScalarType type = net.dtype(),
                       time_type = net.config.use_wan_fp32_strategy ? acc_type(type) : type;
  const int64_t dim = net.config.model_channels;
  // Times depend on sizes, not on values: any that stay finite do.
  const auto input = [&](const Shape& shape, at::ScalarType dtype, bool needs_grad) {
    return Variable(at::full(shape, 0.5, net.dim_spatial_range.value().options().dtype(dtype)), needs_grad);
  };
  const Variable x = input({s.batch, s.frames, s.rows, s.columns, dim}, type, true);
  const Variable emb = input({s.batch, s.times, dim}, time_type, true);
  const Variable lora = input({s.batch, s.times, 3 * dim}, time_type, true);
  const Variable context = input({s.batch, s.text_tokens, net.config.crossattn_emb_channels}, type,
                                 net.config.use_crossattn_projection);
  const RopeTable rope = rope_table({.head_dim = dim / net.config.num_heads}, net.dim_temporal_range.value(),
                                    net.dim_spatial_range.value(), 0, s.frames, s.rows, s.columns, {});
  DiTBlock& block = *net.blocks.front();
  return trace_unit(
      block, [&] { return Variables{block(x, emb, lora, context, rope)}; }, timed_runs);
}

void attach_recompute(DiT& net, const RecomputeChoice& choice) {
  const auto num_blocks = static_cast<int64_t>(net.blocks.size());
  require(choice.num_less + choice.num_more == num_blocks, "recompute: a choice for ",
          choice.num_less + choice.num_more, " blocks, the network has ", num_blocks);
  for (int64_t i = 0; i < num_blocks; ++i) {
    DiTBlock& block = *net.blocks[static_cast<size_t>(i)];
    const KeptSet& set = choice.set_of(i);
    std::vector<std::string> keep;
    for (const std::string& label : set.labels) keep.push_back(block.path() + "." + label);
    block.save_policy = set.is_unit ? std::make_shared<SavePolicy>(std::move(keep)) : nullptr;
  }
  net.final_layer.save_policy = nullptr;
}

std::string describe(const RecomputeChoice& choice, const UnitTrace& block) {
  const int64_t num_blocks = choice.num_less + choice.num_more;
  const auto part = [&](int64_t first, int64_t count, const KeptSet& set) {
    if (count == 0) return std::string();
    return text_of("blocks ", first, " to ", first + count - 1, " keep ", words(set, block), " (",
                   gib(set.cost.kept_bytes), " each); ");
  };
  const double share =
      choice.seconds / std::max(block.forward_seconds() * static_cast<double>(num_blocks), 1e-30);
  return text_of("memory.policy=auto: ", part(0, choice.num_less, choice.less),
                 part(choice.num_less, choice.num_more, choice.more), "at most ", gib(choice.peak_bytes),
                 " at one time; ", std::lround(100 * share), " % of the blocks' forward runs again");
}

std::string attach_auto_recompute(DiT& net, Comm& comm, const BlockShape& shape, int64_t budget_bytes) {
  const auto [block, budget] = agreed(comm, {trace_block(net, shape, kTimedRuns), budget_bytes});
  const auto num_blocks = static_cast<int64_t>(net.blocks.size());
  const RecomputeChoice choice = choose_recompute(best_sets(block), num_blocks, budget);
  attach_recompute(net, choice);
  return describe(choice, block);
}

}  // namespace orrery
