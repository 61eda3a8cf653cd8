#include "train/trainer.h"

#include <chrono>
#include <iostream>

#include "base/error.h"
#include "base/numerics.h"
#include "data/loader.h"
#include "data/video_folder.h"
#include "parallel/agreement.h"
#include "parallel/comm_nccl.h"
#include "train/checkpoint.h"
#include "train/evaluate.h"
#include "train/file_report.h"
#include "train/memory_log.h"
#include "train/parallelize.h"
#include "train/recompute.h"
#include "train/run_log.h"
#include "train/step.h"

namespace orrery {
namespace {

namespace fs = std::filesystem;

LinearTokenizer fit_tokenizer(const Config& c, const Dataset& data) {
  const ReadClips read = read_clips(data, static_cast<uint64_t>(c.train.seed), c.tokenizer.fit_clips);
  require(!read.clips.empty(), c.data.path,
          ": none of the films can be read, so the tokenizer has nothing to be fitted to",
          read.bad.empty() ? "" : "; the first says: " + read.bad.front().reason);
  LinearTokenizerFit fit;
  for (const Clip& clip : read.clips) fit.add(clip.video.unsqueeze(0));
  return fit.finish(c.tokenizer.channels, c.tokenizer.whitening);
}

// Weights mean nothing without their tokenizer: a resumed run and one that starts from our own weights take
// the one that lies beside them. Otherwise it is fitted to the films, to the same clips on every rank.
std::unique_ptr<LinearTokenizer> make_tokenizer(const Config& c, const Dataset& data,
                                                const std::optional<fs::path>& checkpoint) {
  const fs::path weights = fs::path(c.ckpt.load).parent_path();
  if (checkpoint) return load_tokenizer(*checkpoint, c.tokenizer.channels);
  if (!c.ckpt.load.empty() && has_tokenizer(weights)) return load_tokenizer(weights, c.tokenizer.channels);
  return std::make_unique<LinearTokenizer>(fit_tokenizer(c, data));
}

// Every rank looks at the disk; they must see the same.
std::optional<fs::path> agreed_checkpoint(const Config& c, World& world) {
  const auto found = checkpoint_to_resume(c);
  require_agreement(world.comm(), "the checkpoint to resume from", found ? found->string() : "none");
  return found;
}

// The ranks on the device of the model; null: those of the world, on host memory.
std::unique_ptr<Comm> device_comm(const Config& c, World& world) {
  if (c.numerics.device == Device::cpu) return nullptr;
  if (world.size() == 1) return single_rank_comm("world", c10::kCUDA);
  return nccl_comm(world, world.comm(), device_of(c.numerics, world.local_rank()));
}

Mesh make_mesh(const ParallelConfig& c, const World& world, Comm& comm) {
  std::vector<int> node_of;
  for (int r = 0; r < world.size(); ++r) node_of.push_back(world.node_of(r));
  return {
      comm, node_of, {static_cast<int>(c.replicate), static_cast<int>(c.shard), static_cast<int>(c.context)}};
}

std::unique_ptr<DiT> make_network(const Config& c) {
  return std::make_unique<DiT>(dit_config(c));
}

ParallelDiT make_parallel(const Config& c, DiT& net, const Mesh& mesh, at::Device device) {
  ParallelDiT model = parallelize_dit(net, mesh, c, device);
  if (c.ckpt.load.empty()) {
    model.fsdp->initialize(static_cast<uint64_t>(c.train.seed));
  } else {
    load_weights(c.ckpt.load, net, model.fsdp->weights(), Weights::model);
  }
  return model;
}

StepBatch step_batch(Batch&& batch) {
  return {.video = std::move(batch.video),
          .captions = std::move(batch.captions),
          .padding_mask = std::move(batch.padding_mask),
          .samples = std::move(batch.samples),
          .kind = batch.is_image ? flow::BatchKind::image : flow::BatchKind::video};
}

double seconds() {
  return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count();
}

class Training {
 public:
  Training(const Config& config, World& world)
      : config_(config),
        world_(world),
        memory_(config, world),
        data_(open_data(config.data)),
        films_(config.sample.path.empty() ? data_.held_out : open_films(config.sample.path, config.data)),
        checkpoint_(agreed_checkpoint(config, world)),
        tokenizer_(make_tokenizer(config, *data_.train, checkpoint_)),
        text_(make_text_encoder(config)),
        device_comm_(device_comm(config, world)),
        mesh_(make_mesh(config.parallel, world, device_comm_ ? *device_comm_ : world.comm())),
        net_(make_network(config)),
        model_(make_parallel(config, *net_, mesh_, device_of(config.numerics, world.local_rank()))),
        step_(config, *net_, model_, mesh_, *tokenizer_, *text_),
        generator_(config, *net_, model_.denoiser, *tokenizer_, *text_),
        files_(loader_parts(config.data, data_, config.train.batch), config.data.max_bad_fraction) {}

  void run(const TrainingStart& start) {
    int64_t done = 0;
    if (checkpoint_) done = load_checkpoint(*checkpoint_, config_, state());
    const std::string kept = choose_recompute(start.activation_budget_bytes);
    if (world_.is_first()) {
      start.on_ready();
      supersede_checkpoints(config_, done);
      save_tokenizer(config_.train.run_dir, *tokenizer_);
    }
    RunLog log(config_, world_, done);
    if (done > 0) log.note(text_of("resumed after step ", done));
    if (!start.plan.empty()) log.note(start.plan);
    if (!kept.empty()) log.note(kept);
    memory_.begin(done, start.planned);
    Loader loader(loader_parts(config_.data, data_, config_.train.batch), loader_config(done));
    const double begin = seconds();
    for (; done < config_.train.steps; ++done) one_step(loader, log, done);
    files_.total(log);
    if (config_.sample.final_clips > 0) final_evaluation(log, seconds() - begin);
  }

 private:
  // memory.policy = auto: measures a block on this device; the line for the log.
  std::string choose_recompute(int64_t budget_bytes) {
    if (config_.memory.policy != MemoryPolicy::automatic) return "";
    const int64_t share = config_.train.batch / mesh_.data().size(), micro = config_.train.micro_batch;
    const int64_t side = tokenizer_->spatial_factor() * net_->config.patch_spatial;
    const BlockShape shape = {
        .batch = micro > 0 ? std::min(micro, share) : share,
        .frames = tokenizer_->latent_frames(config_.data.frames) / mesh_.context().size(),
        .rows = config_.data.height / side,
        .columns = config_.data.width / side,
        .text_tokens = text_tokens(config_)};
    const std::string line = attach_auto_recompute(*net_, world_.comm(), shape, budget_bytes);
    model_.fsdp->release();
    return line;
  }

  static bool is_due(int64_t done, int64_t every, int64_t steps) {
    return every > 0 && (done % every == 0 || done == steps);
  }

  LoaderConfig loader_config(int64_t start_step) {
    return {.seed = static_cast<uint64_t>(config_.train.seed),
            .rank = mesh_.data().rank(),
            .world = mesh_.data().size(),
            .workers = config_.data.workers,
            .prefetch = config_.data.prefetch,
            .start_step = start_step,
            .max_bad_fraction = config_.data.max_bad_fraction,
            .on_bad = [this](const BadFile& file) { files_.add(file, FileReport::Kind::skipped); },
            .on_damaged = [this](const BadFile& file) { files_.add(file, FileReport::Kind::damaged); }};
  }

  void one_step(Loader& loader, RunLog& log, int64_t index) {
    world_.set_step(index);
    const double begin = seconds();
    const StepResult result = step_(step_batch(loader.next()), index);
    const double step_ms = 1e3 * (seconds() - begin);
    const int64_t done = index + 1;
    const bool is_logged = is_due(done, config_.train.log_every, config_.train.steps);
    log.step(done, result, step_ms, is_logged ? memory_.exchange(done) : Metrics{});
    if (is_logged) files_.exchange(world_.comm(), log);
    if (is_due(done, config_.ckpt.every, config_.train.steps)) {
      save_checkpoint(config_, state(), done, world_.is_first());
      world_.comm().barrier("checkpoint").wait();
    }
    if (is_due(done, config_.sample.every, config_.train.steps) && films_) sample(log, done);
  }

  RunState state() { return {*net_, *model_.fsdp, step_, *tokenizer_}; }

  Evaluation evaluate_averages(int64_t clips, const fs::path& out_dir) {
    std::optional<AveragedWeights::Swap> averages;
    if (config_.sample.weights == Weights::ema && step_.averaged()) averages.emplace(*step_.averaged());
    const EvaluationShare share = {mesh_.data().rank(), mesh_.data().size(), mesh_.context().rank() == 0};
    Evaluation result = evaluate(config_, generator_, *films_, {clips, out_dir, share}, world_.comm());
    model_.fsdp->release();  // weights that were gathered for the averages
    return result;
  }

  void sample(RunLog& log, int64_t done) {
    const fs::path folder = fs::path(config_.train.run_dir) / "samples" / text_of("step_", done);
    log.evaluation(done, evaluate_averages(config_.sample.clips, folder), folder);
  }

  void final_evaluation(RunLog& log, double train_seconds) {
    const fs::path folder = fs::path(config_.train.run_dir) / "evaluation";
    log.summary(evaluate_averages(config_.sample.final_clips, folder), train_seconds, folder);
  }

  const Config& config_;
  World& world_;
  MemoryLog memory_;  // sees what is allocated from here on
  DataSets data_;
  std::shared_ptr<const Dataset> films_;  // for samples and evaluation; may be null
  std::optional<fs::path> checkpoint_;    // that the run goes on from
  std::unique_ptr<LinearTokenizer> tokenizer_;
  std::unique_ptr<TextEncoder> text_;
  std::unique_ptr<Comm> device_comm_;
  Mesh mesh_;
  std::unique_ptr<DiT> net_;
  ParallelDiT model_;
  TrainStep step_;
  Generator generator_;
  FileReport files_;
};

}  // namespace

void run_training(const Config& config, World& world, const TrainingStart& start) {
  set_deterministic(config.numerics.deterministic);
  fs::create_directories(config.train.run_dir);
  Training(config, world).run(start);
}

}  // namespace orrery
