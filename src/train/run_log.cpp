#include "train/run_log.h"

#include <unistd.h>

#include <iomanip>
#include <iostream>

#include "base/error.h"
#include "media/encode.h"

namespace orrery {
namespace {

std::string detail_of(const StepReport& report) {
  std::ostringstream text;
  text << "loss " << std::setprecision(5) << report.loss;
  return text.str();
}

std::string file_bytes(const std::filesystem::path& path) {
  std::ifstream in(path, std::ios::binary);
  std::string content{std::istreambuf_iterator<char>(in), {}};
  require(in.good() || in.eof(), path.string(), ": cannot be read back");
  return content;
}

}  // namespace

void prepare_run_folder(const TrainConfig& config) {
  require(!config.run_dir.empty(), "train.run_dir: empty, wanted a folder");
  const std::filesystem::path folder = config.run_dir, metrics = folder / "metrics.jsonl";
  std::error_code error;
  std::filesystem::create_directories(folder, error);
  require(!error && access(folder.c_str(), W_OK) == 0, "train.run_dir: ", folder.string(),
          " cannot be written (", error ? error.message() : "permission denied", ")");
  const bool used = std::filesystem::exists(metrics) && std::filesystem::file_size(metrics) > 0;
  require(config.resume != "never" || !used, "train.run_dir: ", folder.string(),
          " holds an earlier run and train.resume is never: choose another folder, or go on with "
          "train.resume=auto");
}

RunLog::RunLog(const TrainConfig& config, const RunLogOptions& options) : folder_(config.run_dir) {
  if (!options.writes) return;
  prepare_run_folder(config);
  const bool standard = options.out == nullptr;
  const ProgressOptions progress = {
      .total = config.steps,
      .done = options.steps_done,
      .columns = standard ? std::function<int()>([] { return terminal_columns(STDOUT_FILENO); }) : nullptr};
  sinks_ =
      std::unique_ptr<Sinks>(new Sinks{.metrics = MetricsLog(folder_ / "metrics.jsonl", options.steps_done),
                                       .events = EventFile(folder_, options.steps_done + 1),
                                       .progress = {standard ? std::cout : *options.out, progress},
                                       .detail = ""});
}

void RunLog::tick(int64_t step) {
  if (sinks_) sinks_->progress.step(step, sinks_->detail);
}

void RunLog::log(int64_t step, const StepReport& report) {
  if (!sinks_) return;
  Metrics line = {
      {"loss", report.loss}, {"lr", report.lr}, {"grad_norm", report.grad_norm}, {"step_ms", report.step_ms}};
  line.insert(line.end(), report.more.begin(), report.more.end());
  sinks_->metrics.write(step, line);
  sinks_->events.scalars(step, line);
  sinks_->detail = detail_of(report);
  sinks_->progress.report(step, sinks_->detail);
}

void RunLog::note(const std::string& line) {
  if (sinks_) sinks_->progress.note(line);
}

void RunLog::scalars(int64_t step, const Metrics& metrics) {
  if (sinks_) sinks_->events.scalars(step, metrics);
}

void RunLog::image(int64_t step, const std::string& name, const at::Tensor& image) {
  if (!sinks_) return;
  const auto path = sample_path(step, name + ".png");
  write_png(path, image);
  sinks_->events.image(step, name, image.size(0), image.size(1), file_bytes(path));
}

void RunLog::film(int64_t step, const std::string& name, const at::Tensor& frames, int64_t fps) {
  if (sinks_) write_mp4(sample_path(step, name + ".mp4"), frames, {.fps = {fps, 1}});
}

std::filesystem::path RunLog::sample_path(int64_t step, const std::string& file) const {
  std::ostringstream name;
  name << "step_" << std::setw(8) << std::setfill('0') << step;
  const auto folder = folder_ / "samples" / name.str();
  std::filesystem::create_directories(folder);
  return folder / file;
}

}  // namespace orrery
