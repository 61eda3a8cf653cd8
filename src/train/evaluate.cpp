#include "train/evaluate.h"

#include <ATen/ops/cat.h>
#include <ATen/ops/stack.h>
#include <ATen/ops/zeros.h>

#include <fstream>
#include <limits>

#include "base/error.h"
#include "data/demo_measure.h"
#include "infer/contact_sheet.h"
#include "media/encode.h"
#include "metrics/psnr.h"
#include "metrics/ssim.h"

namespace orrery {
namespace {

constexpr int64_t kSheetRows = 8;
const std::vector<int64_t> kFirstClip = {0};

at::Tensor frames_last(const at::Tensor& clip) {
  return clip.permute({1, 2, 3, 0}).contiguous();
}  // (3,F,H,W) -> (F,H,W,3)

// truth and sample next to each other, one film
at::Tensor side_by_side(const at::Tensor& truth, const at::Tensor& sample) {
  return at::cat({frames_last(truth), frames_last(sample)}, 2);
}

// One row a clip: PSNR of model and of repetition, judged, obeyed, SSIM of model and of repetition.
constexpr int64_t kColumns = 6;
constexpr double kMostDb = 99;  // of equal films, so that means stay numbers

double clip_psnr(const at::Tensor& film, const at::Tensor& truth) {
  return std::min(kMostDb, psnr(film.unsqueeze(0), truth.unsqueeze(0))[0].item<double>());
}

double clip_ssim(const at::Tensor& film, const at::Tensor& truth) {
  return ssim(grey_of(frames_last(film)), grey_of(frames_last(truth))).mean().item<double>();
}

void measure(const at::Tensor& row, const Clip& clip, const at::Tensor& sample, int64_t given) {
  constexpr double kNone = std::numeric_limits<double>::quiet_NaN();
  const at::Tensor truth = clip.video.slice(1, given), film = sample.slice(1, given);
  row[0] = clip_psnr(film, truth);
  row[4] = clip_ssim(film, truth);
  row[1] = row[5] = kNone;
  if (given > 0) {
    const at::Tensor repeated = clip.video.slice(1, given - 1, given).expand_as(truth);
    row[1] = clip_psnr(repeated, truth);
    row[5] = clip_ssim(repeated, truth);
  }
  const auto task = parse_demo_prompt(clip.caption);
  if (!task || clip.video.size(1) < 2) return;
  row[2] = 1;
  row[3] = judge_demo(frames_last(sample), *task).obeyed ? 1 : 0;
}

Evaluation summary(const at::Tensor& rows) {
  const at::Tensor sums = rows.sum(0);
  const auto column = [&](int64_t i) { return sums[i].item<double>(); };
  Evaluation out;
  out.clips = rows.size(0);
  out.psnr_model_db = column(0) / static_cast<double>(out.clips);
  out.psnr_repeat_db = column(1) / static_cast<double>(out.clips);
  out.ssim_model = column(4) / static_cast<double>(out.clips);
  out.ssim_repeat = column(5) / static_cast<double>(out.clips);
  out.judged = static_cast<int64_t>(column(2));
  out.prompt_obeyed = out.judged > 0 ? column(3) / static_cast<double>(out.judged) : 0;
  return out;
}

// Numbers of a group's clips, cut into generator calls of one shape each.
using Calls = std::vector<std::vector<int64_t>>;
Calls calls_of(const std::vector<Clip>& clips, int group, int num_groups) {
  Calls calls;
  for (auto i = static_cast<size_t>(group); i < clips.size(); i += static_cast<size_t>(num_groups)) {
    const bool fits = !calls.empty() && std::ssize(calls.back()) < clips_at_once(clips[i].video.numel()) &&
                      clips[static_cast<size_t>(calls.back().back())].video.sizes() == clips[i].video.sizes();
    if (!fits) calls.emplace_back();
    calls.back().push_back(static_cast<int64_t>(i));
  }
  return calls;
}

size_t most_calls(const std::vector<Clip>& clips, int num_groups) {
  size_t most = 0;
  for (int group = 0; group < num_groups; ++group)
    most = std::max(most, calls_of(clips, group, num_groups).size());
  return most;
}

at::Tensor generate_clips(const Config& config, const Generator& generator, const std::vector<Clip>& clips,
                          const std::vector<int64_t>& numbers) {
  Tensors videos, masks;
  std::vector<std::string> prompts;
  std::vector<int64_t> seeds;
  for (const int64_t number : numbers) {
    const Clip& clip = clips[static_cast<size_t>(number)];
    videos.push_back(clip.video);
    if (clip.padding_mask.defined()) masks.push_back(clip.padding_mask.unsqueeze(0));
    prompts.push_back(clip.caption);
    seeds.push_back(config.sample.seed + number);
  }
  require(masks.empty() || masks.size() == videos.size(),
          "evaluation: some clips are padded and some are not");
  return generator(at::stack(videos), prompts, seeds, masks.empty() ? at::Tensor() : at::stack(masks));
}

// The sheet's films as one tensor (rows, 2, F, H, W, 3): truth and sample; rows of other ranks' clips are
// zero.
void write_sheet(const std::filesystem::path& file, const at::Tensor& films,
                 const std::vector<std::string>& captions, int64_t given, Evaluation& result) {
  std::vector<SheetRow> rows;
  for (int64_t i = 0; i < films.size(0); ++i)
    rows.push_back(
        {films[i][0].slice(0, 0, given), films[i][0], films[i][1], captions[static_cast<size_t>(i)]});
  const at::Tensor sheet = contact_sheet(rows, std::min<int64_t>(4, films.size(2)));
  write_png(file, sheet);
  std::ifstream png(file, std::ios::binary);
  result.contact_sheet_png.assign(std::istreambuf_iterator<char>(png), {});
  result.sheet_height = sheet.size(0);
  result.sheet_width = sheet.size(1);
}

}  // namespace

Evaluation evaluate(const Config& config, const Generator& generator, const Dataset& data,
                    const EvaluationRun& run, Comm& comm) {
  const auto [clips, indices, bad] = read_clips(data, 0, run.num_clips);
  require(!clips.empty(), "evaluation: none of the ", data.size(), " held-out films can be read");
  const int64_t given =
      config.sample.condition_frames == 0 ? 1 : 1 + 4 * (config.sample.condition_frames - 1);
  std::filesystem::create_directories(run.out_dir);
  at::Tensor rows = at::zeros({static_cast<int64_t>(clips.size()), kColumns}, at::kDouble);
  std::vector<std::string> captions;
  for (const Clip& clip : clips)
    if (static_cast<int64_t>(captions.size()) < kSheetRows && clip.video.sizes() == clips[0].video.sizes())
      captions.push_back(clip.caption);
    else
      break;
  const auto sheet_rows = static_cast<int64_t>(captions.size());
  Shape sheet_shape = frames_last(clips[0].video).sizes().vec();
  sheet_shape.insert(sheet_shape.begin(), {sheet_rows, 2});
  at::Tensor sheet = at::zeros(sheet_shape, at::kByte);
  const Calls calls = calls_of(clips, run.share.group, run.share.num_groups);
  for (size_t i = 0; i < most_calls(clips, run.share.num_groups); ++i) {
    // A group with fewer calls than others keeps step with them.
    const std::vector<int64_t>& call = i < calls.size() ? calls[i] : kFirstClip;
    const at::Tensor samples = generate_clips(config, generator, clips, call);
    if (i >= calls.size() || !run.share.reports) continue;
    for (size_t k = 0; k < call.size(); ++k) {
      const int64_t number = call[k];
      const Clip& clip = clips[static_cast<size_t>(number)];
      const at::Tensor sample = samples[static_cast<int64_t>(k)];
      measure(rows[number], clip, sample, given);
      write_mp4(run.out_dir / text_of("clip_", number, ".mp4"), side_by_side(clip.video, sample),
                {.fps = {config.sample.fps, 1}});
      if (number < sheet_rows) sheet[number].copy_(at::stack({frames_last(clip.video), frames_last(sample)}));
    }
  }
  comm.all_reduce(rows, ReduceOp::sum, "evaluation").wait();
  comm.all_reduce(sheet, ReduceOp::max, "contact sheet").wait();
  Evaluation result = summary(rows);
  for (const BadFile& file : bad) result.unreadable.push_back(file.name + ": " + file.reason);
  if (comm.rank() == 0) write_sheet(run.out_dir / "contact_sheet.png", sheet, captions, given, result);
  return result;
}

}  // namespace orrery
