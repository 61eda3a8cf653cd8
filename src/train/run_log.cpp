#include "train/run_log.h"

#include <unistd.h>

#include <fstream>
#include <iostream>
#include <nlohmann/json.hpp>

#include "base/columns.h"
#include "base/error.h"

namespace orrery {
namespace {

namespace fs = std::filesystem;

std::string describe(const Evaluation& e) {
  std::string text =
      text_of(e.clips, " held-out clips: ", fixed(e.psnr_model_db, 2), " dB, SSIM ", fixed(e.ssim_model, 3),
              "; repeating the given frame ", fixed(e.psnr_repeat_db, 2), " dB, ", fixed(e.ssim_repeat, 3));
  if (e.judged > 0)
    text += text_of(", prompt obeyed in ", fixed(100 * e.prompt_obeyed, 0), " % of ", e.judged);
  return text;
}

}  // namespace

RunLog::RunLog(const Config& config, const World& world, int64_t steps_done) : config_(config) {
  if (!world.is_first()) return;
  const fs::path dir = config.train.run_dir;
  fs::create_directories(dir / "tensorboard");
  const ProgressOptions options{.total = config.train.steps, .done = steps_done, .columns = [] {
                                  return terminal_columns(STDERR_FILENO);
                                }};
  out_.reset(new Outputs{MetricsLog(dir / "metrics.jsonl", steps_done),
                         EventFile(dir / "tensorboard", steps_done + 1), Progress(std::cerr, options)});
}

void RunLog::note(const std::string& line) {
  if (out_) out_->progress.note(line);
}

void RunLog::step(int64_t done, const StepResult& result, double step_ms, const Metrics& more) {
  if (!out_) return;
  const std::string detail = text_of("loss ", fixed(result.loss, 4));
  out_->progress.step(done, detail);
  if (result.skipped) note(text_of("step ", done, ": skipped, a gradient was not finite"));
  if (done % config_.train.log_every != 0 && done != config_.train.steps) return;
  Metrics metrics = {
      {"loss", result.loss}, {"lr", result.lr}, {"grad_norm", result.grad_norm}, {"step_ms", step_ms}};
  metrics.insert(metrics.end(), more.begin(), more.end());
  out_->metrics.write(done, metrics);
  out_->events.scalars(done, metrics);
  out_->progress.report(done, detail);
}

void RunLog::checkpoint(const SaveReport& r) {
  if (!out_) return;
  if (r.outcome == SaveReport::Outcome::skipped)
    return note(text_of("step ", r.step, ": checkpoint skipped: ", r.reason));
  if (r.outcome == SaveReport::Outcome::failed)
    return note(text_of("step ", r.step, ": checkpoint FAILED, training goes on: ", r.reason));
  const std::string queued =
      r.queued_ms < 1 ? "" : text_of(", after ", fixed(r.queued_ms, 0), " ms for the save before");
  note(text_of("step ", r.step, ": checkpoint of ", fixed(static_cast<double>(r.bytes) / (1 << 20), 1),
               " MiB in ", fixed(r.write_ms, 0), " ms, training waited ", fixed(r.blocked_ms, 1), " ms",
               queued));
  if (!r.reason.empty()) note(text_of("step ", r.step, ": ", r.reason));
  const Metrics metrics = {{"checkpoint.blocked_ms", r.blocked_ms},
                           {"checkpoint.queued_ms", r.queued_ms},
                           {"checkpoint.write_ms", r.write_ms},
                           {"checkpoint.bytes", static_cast<double>(r.bytes)}};
  out_->metrics.write(r.step, metrics);
  out_->events.scalars(r.step, metrics);
}

void RunLog::evaluation(int64_t done, const Evaluation& evaluation, const fs::path& folder) {
  if (!out_) return;
  for (const std::string& film : evaluation.unreadable) note("held-out film skipped: " + film);
  note(text_of("step ", done, ": ", describe(evaluation), "; films in ", folder.string()));
  out_->events.scalars(done, {{"eval/psnr_model_db", evaluation.psnr_model_db},
                              {"eval/psnr_repeat_db", evaluation.psnr_repeat_db},
                              {"eval/ssim_model", evaluation.ssim_model},
                              {"eval/ssim_repeat", evaluation.ssim_repeat},
                              {"eval/prompt_obeyed", evaluation.prompt_obeyed}});
  const std::string& png = evaluation.contact_sheet_png;
  if (!png.empty()) out_->events.image(done, "samples", evaluation.sheet_height, evaluation.sheet_width, png);
}

void RunLog::summary(const Evaluation& e, double train_seconds, const fs::path& folder) {
  if (!out_) return;
  evaluation(config_.train.steps, e, folder);
  nlohmann::ordered_json json = {{"psnr_model_db", e.psnr_model_db},
                                 {"psnr_repeat_db", e.psnr_repeat_db},
                                 {"ssim_model", e.ssim_model},
                                 {"ssim_repeat", e.ssim_repeat},
                                 {"clips", e.clips},
                                 {"train_seconds", train_seconds}};
  if (e.judged > 0) json["prompt_obeyed"] = e.prompt_obeyed;
  std::ofstream out(fs::path(config_.train.run_dir) / "summary.json");
  out << json.dump(2) << "\n";
  require(out.good(), config_.train.run_dir, "/summary.json: cannot be written (disk full?)");
}

}  // namespace orrery
