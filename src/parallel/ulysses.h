#pragma once
// Ulysses context parallelism: the ranks of a group share one clip, each holding the tokens of its own latent
// frames, and exchange heads for tokens around self-attention. Put into Attention::attention of the
// self-attentions by whoever sets the model up; nothing else in the model knows.
//
// How the parts fit together (parallel/context_split.h has the cut):
//   cut along T     clean latents, noise, condition mask, timesteps of one a frame (B,T)
//   whole           text, padding mask, fps, timesteps of one a clip (B,1); the same draws of noise, times
//                   and condition frames in the group, so its ranks read the same samples of the batch
//   positions       the first frame of rank r is global frame r * T/c (DiTInput::first_frame)
//   loss            each rank's mean over its frames; the clip's is the mean over the group, and so are the
//                   gradients of the parameters
//   sampling        the same cut; gather_frames gives every rank the whole
// Cross-attention, MLP and modulation act on tokens one by one and stay local. Images are not cut: ranks hold
// them whole, and the group is switched off for them.
// Source: Jacobs et al., "DeepSpeed Ulysses", 2023; cosmos-predict2.5, predict2/networks/a2a_cp.py.
#include <memory>

#include "ops/attention.h"
#include "parallel/comm.h"

namespace orrery {

// The ranks that share a clip, and whether they do so now. Attention looks when it is called; what is already
// on a tape keeps the exchanges it was recorded with. All ranks of the group switch alike.
struct ContextGroup {
  Comm* comm = nullptr;     // outlives attention and tapes
  bool active = true;       // off: every rank has whole clips of its own, nothing is exchanged
  int64_t head_groups = 1;  // a rank's heads are attended to in so many groups, while the others travel

  int size() const { return active ? comm->size() : 1; }
};

// Self-attention of a clip that is spread over the group. Takes q, k, v (B,S,n,d) of this rank's S tokens
// with all n heads, as many on every rank; calls local with (B,cS,n',d), all tokens in the order of ranks
// (which is time's) and this rank's heads; returns (B,S,n,d). Elements are moved and never rounded. q leaves
// before k is made, and k before v, so that two of three journeys are hidden behind projections; in backward
// v's gradient comes first, and the others travel while it is used. Whoever makes q, k and v may split them
// over the ranks at once (ops/head_split.h), which spares a copy on each side of a journey.
//
// The heads of a rank may be cut into groups: the first is attended to while the others' q, k and v come in,
// and its results leave while the next is. The bits do not depend on it where attention's of a head do not
// depend on the others.
//
// The exchanges are the ops ulysses_qkv and ulysses_out. Their gradients and tangents travel in the same way,
// so all ranks run backward alike, and where a save policy evicts their outputs, alike again: keep
// "*.ulysses_*" to save that traffic. Throws Error for shapes that are not those of self-attention and for
// fewer heads than ranks, before anything of the tensor is sent.
DeferredAttentionFn ulysses(std::shared_ptr<const ContextGroup> group, AttentionFn local);

}  // namespace orrery
