#include "train/checkpoint.h"

#include <algorithm>
#include <set>

#include "base/error.h"
#include "ckpt/checkpoint_folder.h"
#include "parallel/agreement.h"

namespace orrery {
namespace {

namespace fs = std::filesystem;

void add(std::vector<StateTensor>& to, const std::string& prefix, const std::vector<ShardView>& shards,
         bool is_everywhere) {
  for (const ShardView& s : shards)
    to.push_back({{prefix + s.name, s.shape, s.begin, s.local}, is_everywhere});
}

// Moments and masters have the rows of their weight, "exp_avg.NAME"; step counts are whole on every rank.
void add_optimizer(std::vector<StateTensor>& to, const RunState& run) {
  std::map<std::string, const ShardView*> weights;
  for (const ShardView& weight : run.fsdp.weights()) weights.emplace(weight.name, &weight);
  for (const NamedTensor& t : run.step.optimizer().state()) {
    const ShardView* weight = weights.at(t.name.substr(t.name.find('.') + 1));
    const bool is_count = t.tensor.dim() == 0;
    to.push_back(
        {{"optim." + t.name, is_count ? Shape{} : weight->shape, is_count ? 0 : weight->begin, t.tensor},
         is_count});
  }
}

std::string list_of(const std::vector<std::string>& lines) {
  std::string text;
  constexpr size_t kShown = 20;
  for (size_t i = 0; i < std::min(lines.size(), kShown); ++i) text += "\n  " + lines[i];
  if (lines.size() > kShown) text += text_of("\n  and ", lines.size() - kShown, " more");
  return text;
}

// Names, shapes and dtypes of the checkpoint against those of the run.
void require_fit(const Checkpoint& from, const std::vector<StateTensor>& state) {
  std::vector<std::string> problems;
  std::set<std::string> wanted;
  for (const StateTensor& t : state) {
    wanted.insert(t.view.name);
    const auto found = from.entries().find(t.view.name);
    if (found == from.entries().end()) {
      problems.push_back("missing: " + t.view.name);
    } else if (found->second.shape != t.view.shape || found->second.dtype != t.view.local.scalar_type()) {
      problems.push_back(text_of("different: ", t.view.name, " is ", stored_dtype_name(found->second.dtype),
                                 " ", at::IntArrayRef(found->second.shape), ", this run has ",
                                 stored_dtype_name(t.view.local.scalar_type()), " ",
                                 at::IntArrayRef(t.view.shape)));
    }
  }
  for (const auto& [name, entry] : from.entries())
    if (!wanted.count(name)) problems.push_back("unexpected: " + name);
  require(problems.empty(), from.folder().string(),
          ": does not fit this run (another model or optimizer?):", list_of(problems));
}

void restore_tensors(const Checkpoint& from, const Config& config, const RunState& run) {
  require(from.manifest().seed == config.train.seed, from.folder().string(), ": made with train.seed ",
          from.manifest().seed, ", this run has ", config.train.seed, ": the order of the data would change");
  const std::vector<StateTensor> state = state_tensors(run);
  require_fit(from, state);
  for (const StateTensor& t : state) {
    at::Tensor target = t.view.local;
    const int64_t rows = target.dim() == 0 ? 1 : target.size(0);
    target.copy_(from.rows(t.view.name, t.view.begin, t.view.begin + rows));
  }
  run.fsdp.release();
}

// Small files, which every rank reads whole, are verified before anything is made from them.
void verify_small_files(const Checkpoint& from) {
  std::set<int64_t> with_tensors;
  for (const auto& [name, t] : from.entries())
    for (const ManifestPiece& piece : t.pieces) with_tensors.insert(piece.file);
  for (size_t i = 0; i < from.manifest().files.size(); ++i) {
    const ManifestFile& stored = from.manifest().files[i];
    if (with_tensors.count(static_cast<int64_t>(i))) continue;
    if (stored_file(from.folder() / stored.name).frame != stored.frame)
      throw Error(text_of((from.folder() / stored.name).string(), ": does not have its digest"),
                  Exit::bad_data);
  }
}

// Of the first rank: the newest sound checkpoint; damaged newer ones are set aside once it is found.
struct Search {
  fs::path found;
  std::vector<std::string> notes;
};
Search newest_sound(const fs::path& run_dir) {
  const CheckpointFolder folder(run_dir);
  Search search;
  std::vector<std::pair<fs::path, std::string>> damaged;
  auto all = folder.all();
  std::reverse(all.begin(), all.end());
  for (const auto& entry : all) {
    try {
      verify_small_files(Checkpoint(entry.path));
      search.found = entry.path;
      break;
    } catch (const Error& error) {
      if (error.code() != Exit::bad_data) throw;
      damaged.emplace_back(entry.path, error.what());
    }
  }
  require(!search.found.empty() || damaged.empty(), run_dir.string(),
          ": no checkpoint can be resumed from; the newest: ", damaged.empty() ? "" : damaged.front().second,
          " (start anew with another train.run_dir)");
  for (const auto& [path, reason] : damaged)
    search.notes.push_back(text_of("damaged checkpoint set aside as ",
                                   folder.set_aside(path, "damaged").filename().string(), ": ", reason));
  return search;
}

// The errors of all ranks as one, thrown on each; returns the message if all of them tell of damaged data.
std::string agree_on_failure(Comm& comm, const std::string& mine, Exit code) {
  const auto texts = gather_texts(comm, "resume",
                                  mine.empty() ? "" : static_cast<char>('0' + static_cast<int>(code)) + mine);
  std::string damage;
  for (size_t rank = 0; rank < texts.size(); ++rank) {
    if (texts[rank].empty()) continue;
    const auto its_code = static_cast<Exit>(texts[rank][0] - '0');
    if (its_code != Exit::bad_data)
      throw Error(text_of("rank ", rank, ": ", texts[rank].substr(1)), its_code);
    if (damage.empty()) damage = text_of("rank ", rank, ": ", texts[rank].substr(1));
  }
  return damage;
}

uint64_t tokenizer_digest(const Checkpoint& from) {
  for (const ManifestFile& file : from.manifest().files)
    if (file.name == "tokenizer.safetensors") return file.frame;
  return 0;
}

}  // namespace

std::vector<StateTensor> state_tensors(const RunState& run) {
  std::vector<StateTensor> out;
  add(out, "net.", run.fsdp.weights(), false);
  add(out, "net.", buffers_of(run.net), true);
  if (run.step.averaged()) {
    const auto& averages = run.step.averaged()->averages();
    for (size_t i = 0; i < averages.size(); ++i) {
      const ShardView& weight = run.fsdp.weights()[i];
      out.push_back({{"net_ema." + weight.name, weight.shape, weight.begin, averages[i].tensor}, false});
    }
  }
  add_optimizer(out, run);
  return out;
}

Resume find_checkpoint(const Config& config, Comm& comm) {
  Resume resume;
  std::string path;
  if (comm.rank() == 0 && config.train.resume == "auto") {
    Search search = newest_sound(config.train.run_dir);
    path = search.found.string();
    resume.notes = std::move(search.notes);
  } else if (comm.rank() == 0 && config.train.resume != "never") {
    path = config.train.resume;
    require(fs::is_directory(path), "train.resume: got ", path,
            ", wanted auto, never or a checkpoint's folder");
  }
  path = gather_texts(comm, "checkpoint to resume from", path)[0];
  if (path.empty()) return resume;
  resume.from.emplace(path);
  verify_small_files(*resume.from);
  require_agreement(comm, "manifest of " + path, manifest_text(resume.from->manifest()));
  return resume;
}

int64_t restore(Resume& resume, const Config& config, const RunState& run, const AcceptTexts& accept) {
  while (resume.from) {
    std::string problem;
    Exit code = Exit::done;
    try {
      restore_tensors(*resume.from, config, run);
    } catch (const Error& error) {
      problem = error.what();
      code = error.code();
    }
    const std::string damage = agree_on_failure(run.comm, problem, code);
    if (damage.empty()) return resume.from->manifest().step;
    if (config.train.resume != "auto") throw Error(damage, Exit::bad_data);
    const CheckpointFolder folder(config.train.run_dir);
    require(folder.all().size() > 1, damage, " (and there is no other checkpoint)");
    run.comm.barrier("damaged checkpoint").wait();  // all have counted
    if (run.comm.rank() == 0)
      resume.notes.push_back(text_of("damaged checkpoint set aside as ",
                                     folder.set_aside(resume.from->folder(), "damaged").filename().string(),
                                     ": ", damage));
    const uint64_t tokenizer = tokenizer_digest(*resume.from);
    Resume next = find_checkpoint(config, run.comm);
    resume.from = std::move(next.from);
    resume.notes.insert(resume.notes.end(), next.notes.begin(), next.notes.end());
    require(resume.from && tokenizer_digest(*resume.from) == tokenizer, damage,
            " (the checkpoint before has another tokenizer: start again)");
    accept(resume.from->manifest().texts);
  }
  return 0;
}

void supersede_checkpoints(const Config& config, const fs::path& resumed_from) {
  const CheckpointFolder folder(config.train.run_dir);
  std::error_code ignored;
  bool is_later = true;
  auto all = folder.all();
  for (; is_later && !all.empty(); all.pop_back()) {
    is_later = resumed_from.empty() || !fs::equivalent(all.back().path, resumed_from, ignored);
    if (is_later) folder.set_aside(all.back().path, "superseded");
  }
}

}  // namespace orrery
