#include "infer/first_attention.h"

#include <exception>

#include "base/error.h"

namespace orrery {

FirstAttention::FirstAttention(DiT& net) : state_(std::make_shared<State>()) {
  require(!net.blocks.empty(), "first attention: the network has no blocks");
  DeferredAttentionFn& attention = net.blocks[0]->self_attn.attention;
  attention = [state = state_, make = std::move(attention)](const Deferred& q, const Deferred& k,
                                                            const Deferred& v) {
    if (!state->asked) return make(q, k, v);
    if (state->asked == state->made) {
      state->made.reset();
      return std::exchange(state->out, {});
    }
    state->out = make(q, k, v);
    state->made = state->asked;
    return state->out;
  };
}

FirstAttention::Evaluation::Evaluation(const FirstAttention& attention, std::shared_ptr<const void> input)
    : attention_(attention) {
  attention_.state_->asked = std::move(input);
}

FirstAttention::Evaluation::~Evaluation() {
  State& state = *attention_.state_;
  state.asked.reset();
  if (std::uncaught_exceptions() == 0) return;
  state.made.reset();  // no second branch will come for it
  state.out = {};
}

}  // namespace orrery
