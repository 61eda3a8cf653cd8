#pragma once
// HeadExchange: a tensor's group of heads on its way between ranks that hold all heads of their own tokens
// and ranks that hold all tokens of their own heads. In two halves, so that something else can be done
// meanwhile. Used by ulysses, whose ops share one for each tensor and group of heads: forward fills it in one
// op and empties it in another, backward the other way round.
#include <array>

#include "parallel/comm.h"

namespace orrery {

// Heads [begin, begin + length) of each rank, in order of ranks.
struct HeadRange {
  int64_t begin = 0, length = 0;
};
using HeadRanges = std::vector<HeadRange>;

// The heads are dealt out to the ranks (the first heads % ranks have one more), those of each rank in the
// same way to `groups` groups, or to as many as the rank with the fewest heads can fill. One element a group.
std::vector<HeadRanges> head_groups(int64_t heads, int64_t ranks, int64_t groups);

class HeadExchange {
 public:
  // What is under way at one time: values of a forward, their tangents, gradients of a backward.
  enum class Kind { value, tangent, gradient };

  HeadExchange(Comm& comm, HeadRanges heads) : comm_(comm), heads_(std::move(heads)) {}

  // x (B,S,n,d), all heads of this rank's S tokens: this group's heads leave.
  void send_heads(Kind kind, const at::Tensor& x, const std::string& label);
  // The same where they lie as they leave: x (c,B,S,n',d) contiguous, each rank's n' heads; equal on all.
  void send_split(Kind kind, const at::Tensor& x, const std::string& label);
  // Waits; (B,cS,n',d): all tokens, in order of ranks, of this rank's n' heads.
  at::Tensor tokens(Kind kind);

  // The way back: y (B,cS,n',d).
  void send_tokens(Kind kind, const at::Tensor& y, const std::string& label);
  // Waits; writes this group's heads of x (B,S,n,d).
  void heads(Kind kind, const at::Tensor& x);
  // Waits; (c,B,S,n',d) as they came.
  at::Tensor split(Kind kind);

 private:
  struct Journey {
    at::Tensor own;             // the piece that this rank keeps, unless it is in its place already
    at::Tensor sent, received;  // dense pieces (B,S,lengths[r],d), in order of ranks
    int64_t batch = 0, tokens = 0, channels = 0;
    Counts lengths;
    Work work;
  };

  Journey& journey(Kind kind) { return journeys_[static_cast<size_t>(kind)]; }
  Counts lengths() const;
  Counts counts(const Journey& journey, const Counts& lengths) const;
  std::vector<at::Tensor> pieces_of(const Journey& journey) const;
  void launch(Journey& journey, const std::vector<at::Tensor>& pieces, const Counts& lengths,
              const std::string& label);
  void launch_heads(Journey& journey, const std::vector<at::Tensor>& pieces, const std::string& label);
  at::Tensor sent_pieces(const std::vector<at::Tensor>& pieces) const;

  Comm& comm_;
  HeadRanges heads_;
  std::array<Journey, 3> journeys_;
};

}  // namespace orrery
