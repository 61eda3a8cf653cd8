#pragma once
// What a checkpoint of a run holds, and going on from one. checkpoint_saver.h writes them,
// ckpt/checkpoint_folder.h says where they lie.
//
// Tensors: net.KEY (weights and buffers), net_ema.KEY (averages), optim.exp_avg.KEY and so on. Schedule,
// random streams and data order are functions of seed and step, so step and seed are all that they need.
#include <functional>
#include <optional>

#include "ckpt/checkpoint_reader.h"
#include "infer/make_tokenizer.h"
#include "infer/world_model.h"
#include "parallel/mesh.h"
#include "train/step.h"

namespace orrery {

// What a run goes on from.
struct RunState {
  DiT& net;
  Fsdp& fsdp;
  TrainStep& step;
  const TokenizerRecord& tokenizer;
  const Mesh& mesh;
  Comm& comm;  // all ranks, host memory
};

// The rows that this rank has of a tensor of the state. They share storage with the run.
struct StateTensor {
  ShardView view;
  bool is_everywhere = false;  // whole on every rank: buffers and counts
};
std::vector<StateTensor> state_tensors(const RunState& run);

// A checkpoint to go on from, if there is one, and lines for the log about those that were passed over.
struct Resume {
  std::optional<Checkpoint> from;
  std::vector<std::string> notes;
};

// train.resume: "auto" is the newest sound checkpoint of run_dir (damaged newer ones are set aside; Error if
// all are damaged), "never" none, else a folder. Collective: the first rank looks, all get the same.
Resume find_checkpoint(const Config& config, Comm& comm);

// Throws Error unless the run may go on from a checkpoint with these texts (Manifest::texts).
using AcceptTexts = std::function<void(const std::map<std::string, std::string>&)>;

// Restores weights, averages and optimizer, each rank its own rows, whatever layout wrote them, and verifies
// what it reads; returns the steps done (0: nothing to resume from). With "auto", a checkpoint whose data
// turn out damaged on any rank is set aside and the one before is taken, if accepted. Throws the same Error
// on every rank where checkpoint and run do not match. Collective.
int64_t restore(Resume& resume, const Config& config, const RunState& run, const AcceptTexts& accept);

// A run that starts takes its folder over: checkpoints of another branch are renamed to superseded_step_...,
// so that they are neither resumed from nor counted. Those are the ones later than resumed_from, and all
// where it lies elsewhere or is empty (nothing was resumed from). One rank.
void supersede_checkpoints(const Config& config, const std::filesystem::path& resumed_from);

}  // namespace orrery
