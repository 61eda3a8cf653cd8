#pragma once
// FirstAttention: the first block's self-attention sees the noisy input and its time, but no text. The
// branches of guidance differ in text alone, so that the second can have what the first made: of 28 blocks
// twice, one attention less. Used by context_denoiser.
#include "model/dit.h"

namespace orrery {

class FirstAttention {
 public:
  // Takes the place of the attention of net's first block; outside of evaluations it changes nothing. net
  // outlives it.
  explicit FirstAttention(DiT& net);

  // While it lives, that attention is asked about `input`. Of two evaluations with the same one, which is not
  // null, the first leaves its result, and the second takes it: q, k and v are not made, and the ranks of a
  // context group, who all ask alike, exchange nothing. For evaluations without derivatives.
  class Evaluation {
   public:
    Evaluation(const FirstAttention& attention, std::shared_ptr<const void> input);
    ~Evaluation();
    Evaluation(const Evaluation&) = delete;
    Evaluation& operator=(const Evaluation&) = delete;

   private:
    const FirstAttention& attention_;
  };

 private:
  struct State {
    std::shared_ptr<const void> asked, made;  // inputs: of this evaluation, of `out`
    Variable out;
  };
  std::shared_ptr<State> state_;
};

}  // namespace orrery
