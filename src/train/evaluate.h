#pragma once
// Evaluation on held-out clips: how close generated futures are to the true ones, against repeating the last
// given frame, and, for demonstration films, whether the block went where the prompt says.
#include <algorithm>
#include <filesystem>

#include "data/dataset.h"
#include "infer/generate.h"
#include "parallel/comm.h"

namespace orrery {

struct Evaluation {
  int64_t clips = 0;
  double psnr_model_db = 0;                // mean over clips, over the frames that were not given
  double psnr_repeat_db = 0;               // of the last given frame, repeated; NaN where no frame is given
  double ssim_model = 0, ssim_repeat = 0;  // the same of SSIM on grey frames
  int64_t judged = 0;                      // clips whose prompt states a task of the demonstration scene
  double prompt_obeyed = 0;                // share of the judged clips
  std::vector<std::string> unreadable;     // films that were passed over, with the reason
  std::string contact_sheet_png;           // of the first clips; on the first rank
  int64_t sheet_height = 0, sheet_width = 0;
};

// Which clips a rank generates: those of its group, shared out over the groups. Ranks of one group generate
// the same ones together; one of them reports.
struct EvaluationShare {
  int group = 0, num_groups = 1;
  bool reports = true;
};

// Clips of one shape that a group encodes, denoises and decodes together, at most. values: numbers of a film,
// 3 F H W. A large film fills the device by itself; more of them would only take more memory.
constexpr int64_t clips_at_once(int64_t values) {
  constexpr int64_t kMost = 8, kValues = int64_t{1} << 26;  // three films of 93 x 192 x 320
  return std::clamp<int64_t>(kValues / std::max<int64_t>(values, 1), 1, kMost);
}

struct EvaluationRun {
  int64_t num_clips = 1;
  std::filesystem::path out_dir;
  EvaluationShare share{};
};

// Generates the first num_clips readable clips of the data set and writes films (truth and sample side by
// side) and one contact sheet (given frame, truth, sample) into out_dir. Collective over comm; every rank
// calls the generator equally often, so that its weights may be sharded, and gets the result, the first one
// the sheet too.
Evaluation evaluate(const Config& config, const Generator& generator, const Dataset& data,
                    const EvaluationRun& run, Comm& comm);

}  // namespace orrery
