#include "parallel/ulysses.h"

#include <ATen/ops/arange.h>
#include <ATen/ops/equal.h>
#include <ATen/ops/zeros.h>
#include <ATen/ops/zeros_like.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "autograd/observer.h"
#include "autograd/tape.h"
#include "base/error.h"
#include "base/memory.h"
#include "ops/elementwise.h"
#include "parallel/context_split.h"
#include "parallel/head_exchange.h"

namespace orrery {
namespace {

using testing::HasSubstr;

// A rank of a group that is not there: notes what is started and waited for, and delivers nothing.
class LoggingComm final : public Comm {
 public:
  explicit LoggingComm(int size, c10::DeviceType device = at::kCPU)
      : Comm(0, size, "context"), device_(device) {}
  std::unique_ptr<Comm> split(int64_t, int64_t, std::string) override { return nullptr; }
  std::vector<std::string> log;

 protected:
  struct Noted final : Work::Pending {
    Noted(std::vector<std::string>& log, std::string label) : log(log), label(std::move(label)) {}
    void wait() override { log.push_back("wait " + label); }
    bool ready() override { return true; }
    std::vector<std::string>& log;
    std::string label;
  };
  Work start(Collective call) override {
    call.out.zero_();
    log.push_back("start " + call.label);
    return Work(std::make_unique<Noted>(log, call.label));
  }
  c10::DeviceType device() const override { return device_; }

 private:
  c10::DeviceType device_;
};

Variable zeros(at::IntArrayRef shape) {
  return Variable(at::zeros(shape));
}

std::string message_of(const std::function<void()>& call) {
  try {
    call();
  } catch (const Error& e) {
    return e.what();
  }
  return "no error";
}

std::shared_ptr<ContextGroup> group_of(Comm& comm) {
  return std::make_shared<ContextGroup>(ContextGroup{&comm});
}

}  // namespace

TEST(Ulysses, exchanges_of_q_k_and_v_are_all_under_way_before_the_first_is_waited_for) {
  LoggingComm comm(2);
  const AttentionFn attention = ulysses(group_of(comm), ops::attention);
  attention(zeros({2, 3, 4, 6}), zeros({2, 3, 4, 6}), zeros({2, 3, 4, 6}));
  EXPECT_THAT(comm.log, testing::ElementsAre("start ulysses q", "start ulysses k", "start ulysses v",
                                             "wait ulysses q", "wait ulysses k", "wait ulysses v",
                                             "start ulysses out", "wait ulysses out"));
}

TEST(Ulysses, a_group_of_heads_is_attended_to_while_the_others_travel) {
  LoggingComm comm(2);
  const auto group = group_of(comm);
  group->head_groups = 2;
  const auto noting = [&](const Variable& q, const Variable& k, const Variable& v) {
    comm.log.push_back("attention");
    return ops::attention(q, k, v);
  };
  const Variable x(at::zeros({1, 3, 4, 6}), true);
  Recording recording;
  const Variable out = ulysses(group, noting)(x, x, x);
  std::vector<std::string> wanted, waits;
  const auto then = [&](const std::vector<std::string>& more) {
    wanted.insert(wanted.end(), more.begin(), more.end());
  };
  for (const std::string name : {"q", "k", "v"}) {
    then({"start ulysses " + name, "start ulysses " + name});
    waits.push_back("wait ulysses " + name);
  }
  then(waits), then({"attention", "start ulysses out"});
  then(waits), then({"attention", "start ulysses out", "wait ulysses out", "wait ulysses out"});
  EXPECT_EQ(comm.log, wanted);

  comm.log.clear(), wanted.clear();
  recording.backward({{out, at::zeros({1, 3, 4, 6})}});
  const std::vector<std::string> sends = {"start ulysses dv", "start ulysses dk", "start ulysses dq"};
  then({"start ulysses dout", "start ulysses dout", "wait ulysses dout"}), then(sends);
  then({"wait ulysses dout"}), then(sends);
  for (const std::string name : {"dv", "dk", "dq"}) then({"wait ulysses " + name, "wait ulysses " + name});
  EXPECT_EQ(comm.log, wanted);
}

// What makes q, k and v stands for their projections.
TEST(Ulysses, q_and_k_travel_while_k_and_v_are_made_and_their_gradients_while_v_and_k_have_theirs) {
  LoggingComm comm(2);
  const Variable x(at::zeros({1, 3, 2, 6}), true);
  struct Made final : OpObserver {
    explicit Made(std::vector<std::string>& log) : log(log) {}
    void before(const OpCall& call) override {
      if (call.op.name() == "mul") log.push_back(call.phase == OpPhase::forward ? "make" : "use gradient");
    }
    std::vector<std::string>& log;
  } made(comm.log);
  const Observing observing(made);
  const auto projection = [&] { return ops::mul(x, x); };
  Recording recording;
  const Variable out = ulysses(group_of(comm), ops::attention)(projection, projection, projection);
  EXPECT_THAT(comm.log, testing::ElementsAre("make", "start ulysses q", "make", "start ulysses k", "make",
                                             "start ulysses v", "wait ulysses q", "wait ulysses k",
                                             "wait ulysses v", "start ulysses out", "wait ulysses out"));
  comm.log.clear();
  recording.backward({{out, at::zeros({1, 3, 2, 6})}});
  EXPECT_THAT(comm.log,
              testing::ElementsAre("start ulysses dout", "wait ulysses dout", "start ulysses dv",
                                   "start ulysses dk", "start ulysses dq", "wait ulysses dv", "use gradient",
                                   "wait ulysses dk", "use gradient", "wait ulysses dq", "use gradient"));
}

TEST(Ulysses, nothing_is_sent_while_switched_off_or_in_a_group_of_one) {
  LoggingComm two(2), one(1);
  const auto group = group_of(two);
  const AttentionFn attention = ulysses(group, ops::attention),
                    alone = ulysses(group_of(one), ops::attention);
  const Variable x = zeros({1, 3, 1, 6});  // one head would not do for two ranks
  group->active = false;
  EXPECT_EQ(attention(x, x, x).shape(), x.shape());
  EXPECT_EQ(alone(x, x, x).shape(), x.shape());
  EXPECT_TRUE(two.log.empty() && one.log.empty());
}

TEST(Ulysses, what_is_not_self_attention_and_too_few_heads_are_refused_before_they_are_sent) {
  LoggingComm comm(4);
  const AttentionFn attention = ulysses(group_of(comm), ops::attention);
  const Variable q = zeros({1, 3, 4, 6});
  const auto refusal = [&](const Variable& x, const Variable& k, const Variable& v) {
    comm.log.clear();
    return message_of([&] { attention(x, k, v); });
  };
  EXPECT_THAT(refusal(zeros({3, 24}), zeros({3, 24}), zeros({3, 24})), HasSubstr("wanted (B,S,n,d)"));
  EXPECT_THAT(comm.log, testing::IsEmpty());
  const Variable three = zeros({1, 3, 3, 6});
  EXPECT_THAT(refusal(three, three, three), HasSubstr("3 heads for the 4 ranks of context"));
  EXPECT_THAT(comm.log, testing::IsEmpty());
  EXPECT_THAT(refusal(q, zeros({1, 5, 4, 6}), zeros({1, 5, 4, 6})), HasSubstr("cross-attention is local"));
  EXPECT_THAT(comm.log, testing::ElementsAre("start ulysses q"));
  EXPECT_THAT(refusal(q, q, Variable(at::zeros({1, 3, 4, 6}, at::kDouble))), HasSubstr("v Double"));
  EXPECT_THAT(comm.log, testing::ElementsAre("start ulysses q", "start ulysses k"));
  EXPECT_THROW(ulysses(nullptr, ops::attention), Error);
  EXPECT_THROW(ulysses(std::make_shared<ContextGroup>(), ops::attention), Error);
  EXPECT_THROW(ulysses(group_of(comm), nullptr), Error);
}

TEST(Ulysses, a_local_attention_that_changes_the_shape_is_refused) {
  LoggingComm comm(2);
  const auto flat = [](const Variable&, const Variable&, const Variable&) { return zeros({1, 6}); };
  const Variable q = zeros({1, 3, 2, 6});
  EXPECT_THAT(message_of([&] { ulysses(group_of(comm), flat)(q, q, q); }),
              HasSubstr("local attention made [1, 6] of q [1, 6, 1, 6]"));
}

TEST(Ulysses, a_dry_run_on_meta_tensors_sends_the_same_and_takes_the_memory_of_a_run) {
  struct Bytes {
    std::vector<int64_t> forward, peak;
  };
  const auto run = [](c10::DeviceType device, int64_t batch, LoggingComm& comm) {
    MemoryMeter meter(device);
    const auto options = at::device(device).dtype(at::kFloat);
    Variables in;
    for (int i = 0; i < 3; ++i) in.emplace_back(at::zeros({batch, 64, 5, 16}, options), true);
    Recording recording;
    const Variable out = ulysses(group_of(comm), ops::attention)(in[0], in[1], in[2]);
    EXPECT_EQ(out.shape(), in[0].shape());
    const MemoryUsage forward = meter.live();
    recording.backward({{out, at::zeros(out.shape(), options)}});
    for (const Variable& v : in) EXPECT_EQ(at::IntArrayRef(v.shape()), v.grad().sizes());
    return Bytes{{forward.bytes.begin(), forward.bytes.end()}, {meter.peak().total()}};
  };
  for (const int64_t batch : {1, 3}) {
    LoggingComm on_cpu(2), on_meta(2, at::kMeta);
    const Bytes cpu = run(at::kCPU, batch, on_cpu), meta = run(at::kMeta, batch, on_meta);
    EXPECT_EQ(on_cpu.log.size(), 16u);
    EXPECT_EQ(on_meta.log, on_cpu.log);
    EXPECT_EQ(meta.forward, cpu.forward) << batch;
    EXPECT_EQ(meta.peak, cpu.peak) << batch;
  }
}

TEST(Ulysses, heads_are_dealt_out_as_evenly_as_they_go) {
  const auto dealt = [](int64_t heads, int64_t ranks, int64_t groups) {
    std::vector<std::vector<std::pair<int64_t, int64_t>>> out;
    for (const HeadRanges& group : head_groups(heads, ranks, groups))
      for (auto& to = out.emplace_back(); const HeadRange& range : group)
        to.emplace_back(range.begin, range.length);
    return out;
  };
  using Dealt = decltype(dealt(1, 1, 1));
  EXPECT_EQ(dealt(16, 4, 1), (Dealt{{{0, 4}, {4, 4}, {8, 4}, {12, 4}}}));
  EXPECT_EQ(dealt(5, 2, 1), (Dealt{{{0, 3}, {3, 2}}}));
  EXPECT_EQ(dealt(5, 2, 2), (Dealt{{{0, 2}, {3, 1}}, {{2, 1}, {4, 1}}}));
  EXPECT_EQ(dealt(5, 2, 9), dealt(5, 2, 2));
  EXPECT_EQ(dealt(3, 3, 4), (Dealt{{{0, 1}, {1, 1}, {2, 1}}}));
  EXPECT_THROW(dealt(3, 4, 1), Error);
}

TEST(FrameSplit, refusals_name_the_settings_and_what_would_do) {
  EXPECT_EQ(frame_split(24, 16, 8), 3);
  EXPECT_EQ(frame_split(7, 2, 1), 7);
  const std::string frames = message_of([] { frame_split(24, 16, 5); });
  EXPECT_THAT(frames, HasSubstr("parallel.context = 5: 24 latent frames do not divide among 5 ranks"));
  EXPECT_THAT(frames, HasSubstr("data.frames"));
  EXPECT_THAT(frames, HasSubstr("16 heads can be shared by 1, 2, 3, 4, 6, 8 and 12 ranks"));
  EXPECT_THAT(message_of([] { frame_split(7, 16, 2); }), HasSubstr("can be shared by 1 and 7 ranks"));
  EXPECT_THAT(message_of([] { frame_split(24, 4, 8); }), HasSubstr("has 4 heads"));
  EXPECT_THROW(frame_split(0, 4, 2), Error);
}

TEST(ContextSplit, local_frames_is_a_view_of_this_ranks_part_and_refuses_a_rest) {
  const LoggingComm comm(2);
  const at::Tensor x = at::arange(24, at::kFloat).view({2, 1, 4, 3});
  const at::Tensor part = local_frames(x, 2, comm);
  EXPECT_TRUE(at::equal(part, x.narrow(2, 0, 2)));
  EXPECT_TRUE(part.is_alias_of(x));
  EXPECT_THAT(message_of([&] { local_frames(x, 3, comm); }), HasSubstr("3 frames (dimension 3"));
  EXPECT_THROW(local_frames(x, 4, comm), Error);
  EXPECT_THROW(local_frames(at::Tensor(), 0, comm), Error);
}

TEST(ContextSplit, unpacking_is_the_inverse_of_packing) {
  for (const Shape& shape : {Shape{2, 7, 3}, Shape{1, 7, 3}}) {
    const at::Tensor x = at::arange(c10::multiply_integers(shape), at::kFloat).view(shape);
    for (const Counts& lengths : {Counts{2, 5}, Counts{0, 4, 3}}) {
      const at::Tensor packed = pack_pieces(x, 1, lengths);
      const int64_t first = shape[0] * lengths[0] * shape[2];
      EXPECT_TRUE(at::equal(packed.narrow(0, 0, first), x.narrow(1, 0, lengths[0]).reshape(-1)));
      EXPECT_TRUE(at::equal(unpack_pieces(packed, shape, 1, lengths), x));
    }
  }
}

// Rows of 64 bytes, that are copied in wide elements, and rows that cannot be: odd, odd to begin, far apart.
TEST(ContextSplit, runs_are_copied_whatever_their_length_and_place) {
  const at::Tensor x = at::arange(4 * 6 * 40, at::kFloat).to(at::kBFloat16).view({4, 6, 40});
  const std::vector<std::function<at::Tensor(const at::Tensor&)>> views = {
      [](const at::Tensor& t) { return t.narrow(1, 2, 3).narrow(2, 8, 32); },
      [](const at::Tensor& t) { return t.narrow(1, 2, 3).narrow(2, 0, 32); },
      [](const at::Tensor& t) { return t.narrow(1, 0, 3).narrow(2, 1, 32); },
      [](const at::Tensor& t) { return t.narrow(1, 0, 3).narrow(2, 0, 31); },
      [](const at::Tensor& t) { return t.narrow(1, 0, 3).slice(2, 0, 32, 2); },
      [](const at::Tensor& t) { return t.transpose(0, 2).narrow(1, 0, 3); },
      [](const at::Tensor& t) { return t.narrow(1, 0, 0); }};
  for (size_t i = 0; i < views.size(); ++i) {
    const at::Tensor to = at::zeros_like(x), wanted = at::zeros_like(x);
    views[i](wanted).copy_(views[i](x));
    copy_runs(views[i](to), views[i](x));
    EXPECT_TRUE(at::equal(to, wanted)) << i;
  }
}

}  // namespace orrery
