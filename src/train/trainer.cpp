#include "train/trainer.h"

#include <ATen/ops/full.h>
#include <c10/core/InferenceMode.h>

#include <chrono>
#include <future>
#include <iostream>

#include "base/error.h"
#include "base/numerics.h"
#include "ckpt/checkpoint_folder.h"
#include "ckpt/folder_lock.h"
#include "data/loader.h"
#include "data/video_folder.h"
#include "infer/use_cache.h"
#include "parallel/agreement.h"
#include "parallel/row_exchange.h"
#include "train/checkpoint.h"
#include "train/checkpoint_saver.h"
#include "train/device_mesh.h"
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

// A resumed run goes on with its tokenizer.
RunTokenizer tokenizer_of(const Config& c, const Dataset& films, const std::optional<Checkpoint>& checkpoint,
                          at::Device device, std::shared_ptr<const RowExchange> rows) {
  return checkpoint ? load_tokenizer(checkpoint->folder(), c, device, std::move(rows))
                    : starting_tokenizer(c, device, films, std::move(rows));
}

// Ranks of a context group share their clip's rows as they share its tokens.
std::shared_ptr<const RowExchange> rows_of(const Mesh& mesh) {
  return mesh.context().size() > 1 ? row_exchange(mesh.context()) : nullptr;
}

// One job at a time in a run folder; what an interrupted one left goes. The first rank holds the lock.
std::unique_ptr<FolderLock> take_folder(const Config& c, World& world, std::vector<std::string>& notes) {
  if (!world.is_first()) return nullptr;
  auto lock = std::make_unique<FolderLock>(c.train.run_dir);
  notes = CheckpointFolder(c.train.run_dir).tidy();
  return lock;
}

AcceptTexts same_run(const TrainingStart& start) {
  return [&start](const std::map<std::string, std::string>& texts) {
    require(texts.count("config") > 0, "the manifest of the checkpoint to go on from has no settings");
    start.require_same_run(texts.at("config"));
  };
}

Resume resume_of(const Config& c, World& world, const TrainingStart& start) {
  Resume resume = find_checkpoint(c, world.comm());
  if (resume.from) same_run(start)(resume.from->manifest().texts);
  return resume;
}

std::unique_ptr<DiT> make_network(const Config& c) {
  return std::make_unique<DiT>(dit_config(c));
}

// A resumed run gets its weights later, all of them. What ckpt.partial leaves out of the weights to start
// from keeps its initialisation.
ParallelDiT make_parallel(const Config& c, DiT& net, const Mesh& mesh, at::Device device, bool is_resumed,
                          std::vector<std::string>& notes) {
  ParallelDiT model = parallelize_dit(net, mesh, c, device);
  require(c.ckpt.partial.empty() || !c.ckpt.load.empty(), "ckpt.partial is set, but ckpt.load is empty");
  if (is_resumed) return model;
  if (c.ckpt.load.empty() || !c.ckpt.partial.empty())
    model.fsdp->initialize(static_cast<uint64_t>(c.train.seed));
  if (!c.ckpt.load.empty())
    notes.push_back(load_weights(c.ckpt.load, net, model.fsdp->weights(), Weights::model, c.ckpt.partial));
  return model;
}

StepBatch step_batch(Batch&& batch) {
  return {.video = std::move(batch.video),
          .latents = std::move(batch.latents),
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
  Training(const Config& config, World& world, const TrainingStart& start)
      : config_(config),
        world_(world),
        start_(start),
        lock_(take_folder(config, world, notes_)),
        memory_(config, world),
        data_(open_data(config.data)),
        films_(config.sample.path.empty() ? data_.held_out : open_films(config.sample.path, config.data)),
        resume_(resume_of(config, world, start)),
        device_(device_of(config.numerics, world.local_rank())),
        device_comm_(device_comm(config.numerics, world)),
        mesh_(make_mesh(config.parallel, world, device_comm_.get())),
        tokenizer_(tokenizer_of(config, *data_.train, resume_.from, device_, rows_of(mesh_))),
        run_data_(run_data(config, data_, tokenizer_.record)),
        text_(run_text(config, device_, world.comm())),
        net_(make_network(config)),
        model_(make_parallel(config, *net_, mesh_, device_, resume_.from.has_value(), notes_)),
        step_(config, *net_, model_, mesh_, *tokenizer_.tokenizer, *text_),
        generator_(config, *net_, model_.denoiser, *tokenizer_.tokenizer, *text_),
        files_(run_data_.parts, config.data.max_bad_fraction) {}

  Exit run() {
    int64_t done = restore(resume_, config_, state(), same_run(start_));
    const std::string kept = choose_recompute(start_.activation_budget_bytes);
    if (world_.is_first()) {
      start_.on_ready();
      supersede_checkpoints(config_, resume_.from ? resume_.from->folder() : fs::path());
      save_tokenizer(config_.train.run_dir, tokenizer_.record);
    }
    RunLog log(config_, world_, done);
    first_lines(log, done, kept);
    memory_.begin(done, start_.planned);
    CheckpointSaver saver(config_, state(), start_.settings,
                          [&log](const SaveReport& report) { log.checkpoint(report); });
    step_.before_update = [&saver] { saver.before_update(); };
    Loader loader(run_data_.parts, loader_config(done));
    const double begin = seconds();
    const int64_t start = done;
    for (; done < config_.train.steps && !is_stopped(); ++done) one_step(loader, log, saver, done);
    const bool is_whole = done == config_.train.steps;
    if (!is_whole && done > start && config_.ckpt.every > 0 && done % config_.ckpt.every != 0)
      saver.save(done, true);
    const bool is_saved = saver.finish();
    files_.total(log);
    if (is_whole && config_.sample.final_clips > 0) final_evaluation(log, seconds() - begin);
    if (!is_saved) throw Error("the last checkpoint could not be saved (see above)", Exit::failure);
    if (is_whole) return Exit::done;
    log.note(text_of("stopped after step ", done, ", as a signal asked",
                     config_.ckpt.every > 0 ? "; the same command goes on from there"
                                            : "; nothing is saved, ckpt.every is 0"));
    return Exit::stopped;
  }

 private:
  // memory.policy = auto: measures a block on this device; the line for the log.
  std::string choose_recompute(int64_t budget_bytes) {
    if (config_.memory.policy != MemoryPolicy::automatic) return "";
    const std::string line =
        attach_auto_recompute(*net_, world_.comm(), block_shape(config_, mesh_), budget_bytes);
    model_.fsdp->release();
    return line;
  }

  void first_lines(RunLog& log, int64_t done, const std::string& recompute) {
    for (const std::string& note : notes_) log.note(note);
    for (const std::string& note : resume_.notes) log.note(note);
    for (const std::string& note : run_data_.notes) log.note(note);
    if (done > 0) log.note(text_of("resumed after step ", done));
    if (!start_.plan.empty()) log.note(start_.plan);
    if (!recompute.empty()) log.note(recompute);
  }

  // Whether any rank was asked to stop. Collective.
  bool is_stopped() {
    at::Tensor asked = at::full({1}, start_.stop_asked() ? 1 : 0, at::kDouble);
    world_.comm().all_reduce(asked, ReduceOp::max, "stop").wait();
    return asked.item<double>() > 0;
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

  // What is wrong with a batch is said when its step comes: those before it are still taken, logged and
  // saved.
  std::future<StepInput> ahead(Loader& loader, int64_t index) {
    try {
      return std::async(std::launch::async, [this, index, batch = step_batch(loader.next())] {
        const c10::InferenceMode inference;
        return step_.prepare(batch, index);
      });
    } catch (...) {
      std::promise<StepInput> failed;
      failed.set_exception(std::current_exception());
      return failed.get_future();
    }
  }
  // On a GPU the host makes the next step's input while the device is at this one; on the CPU both would want
  // its cores.
  StepInput input_of(Loader& loader, int64_t index) {
    if (device_.is_cpu()) return step_.prepare(step_batch(loader.next()), index);
    std::future<StepInput> mine = next_.valid() ? std::move(next_) : ahead(loader, index);
    if (index + 1 < config_.train.steps) next_ = ahead(loader, index + 1);
    return mine.get();
  }

  void one_step(Loader& loader, RunLog& log, CheckpointSaver& saver, int64_t index) {
    world_.set_step(index);
    const double begin = seconds();
    const StepResult result = step_.run(input_of(loader, index), index);
    const double step_ms = 1e3 * (seconds() - begin);
    const int64_t done = index + 1;
    const bool is_logged = is_due(done, config_.train.log_every, config_.train.steps);
    log.step(done, result, step_ms, is_logged ? memory_.exchange(done) : Metrics{});
    if (is_logged) files_.exchange(world_.comm(), log);
    saver.poll();
    if (lock_) lock_->require_held();
    if (is_due(done, config_.ckpt.every, config_.train.steps)) saver.save(done, done == config_.train.steps);
    if (is_due(done, config_.sample.every, config_.train.steps) && films_) {
      saver.before_update();  // samples are made with the averages in the weights' place
      sample(log, done);
    }
  }

  RunState state() { return {*net_, *model_.fsdp, step_, tokenizer_.record, mesh_, world_.comm()}; }

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
  const TrainingStart& start_;
  std::vector<std::string> notes_;  // about what earlier jobs left
  std::unique_ptr<FolderLock> lock_;
  MemoryLog memory_;  // sees what is allocated from here on
  DataSets data_;
  std::shared_ptr<const Dataset> films_;  // for samples and evaluation; may be null
  Resume resume_;
  const at::Device device_;
  std::unique_ptr<Comm> device_comm_;
  Mesh mesh_;
  RunTokenizer tokenizer_;
  RunData run_data_;
  std::unique_ptr<TextEncoder> text_;
  std::unique_ptr<DiT> net_;
  ParallelDiT model_;
  TrainStep step_;
  Generator generator_;
  FileReport files_;
  std::future<StepInput> next_;  // of the step to come; ends before what it works with
};

}  // namespace

Exit run_training(const Config& config, World& world, const TrainingStart& start) {
  choose_kernels(config.numerics);
  fs::create_directories(config.train.run_dir);
  return Training(config, world, start).run();
}

}  // namespace orrery
