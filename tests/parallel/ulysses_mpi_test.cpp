// Attention spread over ranks against attention of the whole on one.
#include "parallel/ulysses.h"

#include <ATen/ops/equal.h>
#include <ATen/ops/tensor.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "autograd/module.h"
#include "autograd/observer.h"
#include "autograd/save_policy.h"
#include "autograd/scope.h"
#include "autograd/tape.h"
#include "base/error.h"
#include "base/rng.h"
#include "ops/elementwise.h"
#include "ops/norm_rope.h"
#include "parallel/context_split.h"
#include "parallel/head_exchange.h"
#include "world.h"

namespace orrery {
namespace {

// Whole clips, the same on every rank: token lengths are those of one rank.
struct Clip {
  int64_t batch, tokens, heads, head_dim;
  at::ScalarType dtype = at::kDouble;

  at::Tensor draw(uint64_t number, int ranks) const {
    return Rng(5, "clip", {number}).normal_tensor({batch, tokens * ranks, heads, head_dim}).to(dtype);
  }
};

struct Outcome {
  Tensors inputs, grads;
  at::Tensor out, tangent;
};

// part: what a rank holds of a whole tensor.
Outcome run_attention(const AttentionFn& attention, const Clip& clip, int ranks,
                      const std::function<at::Tensor(const at::Tensor&)>& part) {
  Outcome run;
  Variables in;
  for (uint64_t i = 0; i < 3; ++i) {
    in.emplace_back(part(clip.draw(i, ranks)), true);
    run.inputs.push_back(in.back().value());
  }
  Recording recording;
  const auto with_tangent = [&](size_t i) { return in[i].with_tangent(part(clip.draw(10 + i, ranks))); };
  const Variable out = attention(with_tangent(0), with_tangent(1), with_tangent(2));
  run.out = out.value();
  run.tangent = out.tangent();
  recording.backward({{out, part(clip.draw(20, ranks))}});
  for (const Variable& v : in) run.grads.push_back(v.grad());
  return run;
}

at::Tensor whole(const at::Tensor& x) {
  return x;
}

double relative_error(const at::Tensor& got, const at::Tensor& wanted) {
  return ((got - wanted).norm() / wanted.norm()).item<double>();
}

void expect_like_one_rank(Comm& comm, const Clip& clip, double tolerance) {
  const auto group = std::make_shared<ContextGroup>(ContextGroup{&comm});
  const auto local = [&](const at::Tensor& x) { return local_frames(x, 1, comm); };
  const Outcome alone = run_attention(ops::attention, clip, comm.size(), whole);
  const Outcome together = run_attention(ulysses(group, ops::attention), clip, comm.size(), local);
  const std::string where =
      text_of(comm.size(), " ranks, ", clip.batch, " x ", clip.tokens, " x ", clip.heads, ", ", clip.dtype);
  EXPECT_LE(relative_error(together.out, local(alone.out)), tolerance) << where;
  EXPECT_LE(relative_error(together.tangent, local(alone.tangent)), tolerance) << where;
  for (size_t i = 0; i < 3; ++i)
    EXPECT_LE(relative_error(together.grads[i], local(alone.grads[i])), tolerance)
        << where << ", input " << i;
}

// The world as one group, and as groups of two.
void for_each_group(const std::function<void(Comm&)>& test) {
  Comm& world = test_world().comm();
  test(world);
  if (world.size() > 2) test(*world.split(world.rank() / 2, 0, "pair"));
}

// Counts the runs of exchanges.
class ExchangeCount final : public OpObserver {
 public:
  void before(const OpCall& call) override {
    if (call.op.name().starts_with("ulysses")) ++runs[static_cast<int>(call.phase)];
  }
  int runs[3] = {};  // forward, recompute, backward
};

}  // namespace

TEST(UlyssesMpi, outputs_gradients_and_tangents_are_those_of_one_rank) {
  for_each_group([](Comm& comm) {
    const int64_t c = comm.size();
    for (const at::ScalarType dtype : {at::kDouble, at::kFloat}) {
      const double tolerance = dtype == at::kDouble ? 1e-12 : 2e-6;
      expect_like_one_rank(comm, {2, 6, 2 * c, 8, dtype}, tolerance);
      expect_like_one_rank(comm, {1, 3, c, 5, dtype}, tolerance);      // odd, one head a rank
      expect_like_one_rank(comm, {2, 1, c, 4, dtype}, tolerance);      // one token a rank
      expect_like_one_rank(comm, {2, 5, c + 1, 6, dtype}, tolerance);  // heads do not divide
      expect_like_one_rank(comm, {1, 35, 2 * c + 1, 16, dtype}, tolerance);
    }
    expect_like_one_rank(comm, {1, 2, 5 + c, 6}, 1e-12);
  });
}

TEST(UlyssesMpi, a_tangent_of_one_of_q_k_and_v_travels_alone) {
  for_each_group([](Comm& comm) {
    const Clip clip{1, 3, comm.size(), 6};
    const auto group = std::make_shared<ContextGroup>(ContextGroup{&comm});
    const auto local = [&](const at::Tensor& x) { return local_frames(x, 1, comm); };
    for (uint64_t which = 0; which < 3; ++which) {
      const auto tangent = [&](const AttentionFn& attention, const auto& part) {
        Variables in;
        for (uint64_t i = 0; i < 3; ++i) in.emplace_back(part(clip.draw(i, comm.size())));
        in[which] = in[which].with_tangent(part(clip.draw(10, comm.size())));
        return attention(in[0], in[1], in[2]).tangent();
      };
      const at::Tensor want = local(tangent(ops::attention, whole));
      EXPECT_LE(relative_error(tangent(ulysses(group, ops::attention), local), want), 1e-12) << which;
    }
  });
}

TEST(UlyssesMpi, five_heads_on_two_ranks) {
  const auto pair = test_world().comm().split(test_world().rank() / 2, 0, "pair");
  expect_like_one_rank(*pair, {2, 3, 5, 12, at::kDouble}, 1e-12);
  expect_like_one_rank(*pair, {2, 3, 5, 12, at::kFloat}, 2e-6);
}

TEST(UlyssesMpi, groups_of_heads_change_no_bit) {
  for_each_group([](Comm& comm) {
    const auto local = [&](const at::Tensor& x) { return local_frames(x, 1, comm); };
    for (const int64_t batch : {1, 2})
      for (const int64_t heads : {4 * comm.size(), 3 * comm.size() + 1}) {
        const Clip clip{batch, 9, heads, 8, at::kFloat};
        std::vector<Outcome> runs;
        for (const int64_t groups : {1, 2, 3, 9}) {
          const auto group =
              std::make_shared<ContextGroup>(ContextGroup{.comm = &comm, .head_groups = groups});
          runs.push_back(run_attention(ulysses(group, ops::attention), clip, comm.size(), local));
        }
        for (size_t i = 1; i < runs.size(); ++i) {
          EXPECT_TRUE(at::equal(runs[i].out, runs[0].out)) << i;
          EXPECT_TRUE(at::equal(runs[i].tangent, runs[0].tangent)) << i;
          for (size_t j = 0; j < 3; ++j) EXPECT_TRUE(at::equal(runs[i].grads[j], runs[0].grads[j])) << i << j;
        }
      }
  });
}

// Queries and keys that are made as the exchange wishes to have them, or not.
TEST(UlyssesMpi, heads_that_come_split_change_no_bit) {
  for_each_group([](Comm& comm) {
    const auto local = [&](const at::Tensor& x) { return local_frames(x, 1, comm); };
    for (const int64_t batch : {1, 2})
      for (const int64_t groups : {1, 2}) {
        const Clip clip{batch, 5, 2 * comm.size(), 8, at::kFloat};
        const auto group = std::make_shared<ContextGroup>(ContextGroup{.comm = &comm, .head_groups = groups});
        const at::Tensor angle = Rng(5, "angle").normal_tensor({5, 4});
        const Variable weight(Rng(5, "weight").normal_tensor({8}));
        const DeferredAttentionFn spread = ulysses(group, ops::attention);
        int split_calls = 0;
        const auto run = [&](bool follows) {
          const AttentionFn attention = [&](const Variable& q, const Variable& k, const Variable& v) {
            const auto made = [&](const Variable& x) {
              return Deferred([&, x](const HeadSplit& wish) {
                split_calls += follows ? 1 : 0;
                return ops::rms_norm_rope(x, weight, 1e-6, angle.cos(), angle.sin(),
                                          follows ? wish : HeadSplit{});
              });
            };
            return spread(made(q), made(k), v);
          };
          return run_attention(attention, clip, comm.size(), local);
        };
        const Outcome plain = run(false), split = run(true);
        EXPECT_EQ(split_calls, 2);
        EXPECT_TRUE(at::equal(split.out, plain.out)) << batch << groups;
        EXPECT_TRUE(at::equal(split.tangent, plain.tangent)) << batch << groups;
        for (size_t i = 0; i < 3; ++i) EXPECT_TRUE(at::equal(split.grads[i], plain.grads[i])) << i;
      }
  });
}

TEST(UlyssesMpi, a_rank_sees_all_tokens_in_order_of_time_and_its_block_of_heads_unrounded) {
  for_each_group([](Comm& comm) {
    const auto group = std::make_shared<ContextGroup>(ContextGroup{&comm});
    for (const at::ScalarType dtype : {at::kBFloat16, at::kFloat, at::kDouble}) {
      const Clip clip{2, 3, 2 * comm.size() + 1, 4, dtype};
      const HeadRange heads = head_groups(clip.heads, comm.size(), 1)[0][comm.rank()];
      const auto mine = [&](uint64_t number) {
        return clip.draw(number, comm.size()).narrow(2, heads.begin, heads.length);
      };
      const AttentionFn pick_v = [&](const Variable& q, const Variable& k, const Variable& v) {
        EXPECT_TRUE(at::equal(q.value(), mine(0)));
        EXPECT_TRUE(at::equal(k.value(), mine(1)));
        EXPECT_TRUE(at::equal(v.value(), mine(2)));
        return v;
      };
      const auto local = [&](uint64_t i) { return local_frames(clip.draw(i, comm.size()), 1, comm); };
      const Variable out = ulysses(group, pick_v)(Variable(local(0)), Variable(local(1)), Variable(local(2)));
      EXPECT_TRUE(at::equal(out.value(), local(2)));
    }
  });
}

TEST(UlyssesMpi, recompute_repeats_the_exchanges_and_changes_no_bit) {
  for_each_group([](Comm& comm) {
    const auto group = std::make_shared<ContextGroup>(ContextGroup{.comm = &comm, .head_groups = 2});
    const AttentionFn attention = ulysses(group, ops::attention);
    const Clip clip{2, 3, 2 * comm.size(), 6};
    const auto local = [&](const at::Tensor& x) { return local_frames(x, 1, comm); };
    const auto run = [&](std::shared_ptr<const SavePolicy> policy, ExchangeCount& count) {
      Module root, unit(&root, "block");
      unit.save_policy = std::move(policy);
      const AttentionFn inside = [&](const Variable& q, const Variable& k, const Variable& v) {
        const Scope scope(unit);
        const Variable mixed = attention(ops::mul(q, k), ops::mul(k, v), ops::mul(v, q));
        return scope.result(ops::mul(mixed, mixed));
      };
      const Observing observing(count);
      return run_attention(inside, clip, comm.size(), local);
    };
    ExchangeCount kept_count, all_count, some_count;
    const Outcome kept = run(nullptr, kept_count);
    const Outcome all = run(std::make_shared<SavePolicy>(std::vector<std::string>{}), all_count);
    const Outcome some =
        run(std::make_shared<SavePolicy>(std::vector<std::string>{"*.ulysses_*"}), some_count);
    EXPECT_THAT(kept_count.runs, testing::ElementsAre(8, 0, 8));
    EXPECT_THAT(all_count.runs, testing::ElementsAre(8, 8, 8));
    EXPECT_THAT(some_count.runs, testing::ElementsAre(8, 0, 8));
    for (const Outcome* other : {&all, &some}) {
      EXPECT_TRUE(at::equal(other->out, kept.out));
      for (size_t i = 0; i < 3; ++i) EXPECT_TRUE(at::equal(other->grads[i], kept.grads[i])) << i;
    }
  });
}

TEST(UlyssesMpi, images_and_videos_take_turns_without_rewrapping) {
  Comm& comm = test_world().comm();
  const auto group = std::make_shared<ContextGroup>(ContextGroup{&comm});
  const AttentionFn attention = ulysses(group, ops::attention);
  const Clip video{1, 3, comm.size(), 6}, image{2, 5, 1, 6};  // an image needs no head a rank
  const auto local = [&](const at::Tensor& x) { return local_frames(x, 1, comm); };
  const Outcome video_alone = run_attention(ops::attention, video, comm.size(), whole);
  const Outcome image_alone = run_attention(ops::attention, image, 1, whole);
  for (int iteration = 0; iteration < 4; ++iteration) {
    group->active = iteration % 2 == 0;
    ExchangeCount count;
    const Observing observing(count);
    const Outcome run = group->active ? run_attention(attention, video, comm.size(), local)
                                      : run_attention(attention, image, 1, whole);
    EXPECT_EQ(count.runs[0], group->active ? 6 : 0);
    EXPECT_EQ(count.runs[2], group->active ? 6 : 0);
    for (size_t i = 0; i < 3; ++i) {
      if (group->active)
        EXPECT_LE(relative_error(run.grads[i], local(video_alone.grads[i])), 1e-12);
      else
        EXPECT_TRUE(at::equal(run.grads[i], image_alone.grads[i]));
    }
  }
}

TEST(UlyssesMpi, a_tape_keeps_the_exchanges_it_was_recorded_with) {
  Comm& comm = test_world().comm();
  const auto group = std::make_shared<ContextGroup>(ContextGroup{&comm});
  const Clip clip{1, 2, comm.size(), 4};
  const auto local = [&](const at::Tensor& x) { return local_frames(x, 1, comm); };
  const AttentionFn switching = [&](const Variable& q, const Variable& k, const Variable& v) {
    group->active = true;
    const Variable out = ulysses(group, ops::attention)(q, k, v);
    group->active = false;  // before backward
    return out;
  };
  const Outcome alone = run_attention(ops::attention, clip, comm.size(), whole);
  const Outcome together = run_attention(switching, clip, comm.size(), local);
  for (size_t i = 0; i < 3; ++i) EXPECT_LE(relative_error(together.grads[i], local(alone.grads[i])), 1e-12);
}

TEST(UlyssesMpi, fewer_heads_than_ranks_are_refused_on_every_rank_and_the_group_goes_on) {
  Comm& comm = test_world().comm();
  const auto group = std::make_shared<ContextGroup>(ContextGroup{&comm});
  const Variable x(Clip{1, 2, comm.size() - 1, 4}.draw(0, 1));
  EXPECT_THROW(ulysses(group, ops::attention)(x, x, x), Error);
  expect_like_one_rank(comm, {1, 2, comm.size(), 4}, 1e-12);
}

TEST(ContextSplitMpi, gathering_restores_what_was_cut_on_every_rank) {
  for_each_group([](Comm& comm) {
    for (const at::ScalarType dtype : {at::kFloat, at::kBFloat16, at::kDouble})
      for (const int64_t batch : {1, 2}) {
        const at::Tensor x = Rng(6, "latents").normal_tensor({batch, 3, 3 * comm.size(), 2, 5}).to(dtype);
        EXPECT_TRUE(at::equal(gather_frames(comm, local_frames(x, 2, comm), 2), x));
      }
    EXPECT_THROW(gather_frames(comm, at::Tensor(), 2), Error);
  });
}

TEST(ContextSplitMpi, given_frames_are_the_first_of_the_clip) {
  Comm& comm = test_world().comm();
  const at::Tensor counts = at::tensor(std::vector<int64_t>{0, 1, 2, 3, 100});
  const at::Tensor mine = local_condition_frames(counts, 2, comm);
  const std::vector<int64_t> wanted = comm.rank() == 0   ? std::vector<int64_t>{0, 1, 2, 2, 2}
                                      : comm.rank() == 1 ? std::vector<int64_t>{0, 0, 0, 1, 2}
                                                         : std::vector<int64_t>{0, 0, 0, 0, 2};
  EXPECT_TRUE(at::equal(mine, at::tensor(wanted)));
  EXPECT_THROW(local_condition_frames(counts.to(at::kFloat), 2, comm), Error);
}

}  // namespace orrery
