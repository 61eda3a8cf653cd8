#pragma once
// A network whose clips are shared by the ranks of a context group. Made by the trainer (parallelize_dit) and
// by the generate command.
#include "infer/world_model.h"
#include "parallel/comm.h"

namespace orrery {

// Puts Ulysses attention into the self-attentions and returns the network as the flow knows it, on whole
// clips: each rank computes its own latent frames of a video and all of them get the whole velocity; images
// are computed whole by each rank. The group's ranks call it together with the same input, which gets no
// gradient. A group of one: the network as it is. The latent frames must divide (frame_split). Evaluations
// that differ in text alone (DenoiserInput::apart_from_text) share the first self-attention (FirstAttention).
// head_groups: parallel/ulysses.h.
flow::Denoiser context_denoiser(DiT& net, Comm& context, int64_t head_groups,
                                TextForm text = TextForm::encoded);

}  // namespace orrery
