#pragma once
// Batches of clips for one rank: worker threads read ahead, unreadable films are replaced. Called by the
// trainer. A rank's share of a batch depends on (seed, step, slots) alone: all ranks together read the same
// clips whatever the number of ranks and workers, and a run can start at any step.
#include <functional>
#include <memory>

#include "base/config.h"
#include "data/dataset.h"
#include "data/video_folder.h"

namespace orrery {

// One of the data sets that take turns: in each cycle `per_cycle` batches of the first part, then of the
// second, ... (order.h, cycle_position).
struct LoaderPart {
  std::shared_ptr<const Dataset> data;
  int64_t batch = 0;  // clips over all ranks
  int64_t per_cycle = 1;
};

// Images (if any) first, then films, as the configuration says. batch: train.batch.
std::vector<LoaderPart> loader_parts(const DataConfig& config, const DataSets& sets, int64_t batch);

struct LoaderConfig {
  uint64_t seed = 0;
  int64_t rank = 0, world = 1;  // of the ranks that read different clips
  int64_t workers = 4;          // decoder threads
  int64_t prefetch = 2;         // batches read ahead; also the bound of memory
  int64_t start_step = 0;       // first step that next() gives
  double max_bad_fraction = 0.05;
  // Called by next(), once for each file: unreadable ones, and damaged ones that were read.
  std::function<void(const BadFile&)> on_bad = nullptr, on_damaged = nullptr;
};

struct Batch {
  int64_t step = 0;
  bool is_image = false;            // clips of one frame
  at::Tensor video;                 // uint8 [B,3,F,H,W], B = batch / world; of clips with latents no values
  std::vector<at::Tensor> latents;  // [C,T,h,w] of each clip; undefined: to be made of its video
  at::Tensor padding_mask;          // float32 [B,1,H,W], 1 on padded pixels; undefined: nothing padded
  std::vector<int64_t> samples;     // slots of these clips in the batch of all ranks
  std::vector<std::string> captions, sources;
  std::vector<double> fps;
  std::vector<int64_t> films, first_frames;  // numbers in the data set, and in the film
};

class Loader {
 public:
  // Throws Error if the settings do not fit: a batch that the ranks cannot share evenly, no film, ...
  Loader(std::vector<LoaderPart> parts, LoaderConfig config);
  ~Loader();  // at any time; waits for the workers to leave the frames they are decoding

  // The batch of the next step. Throws Error(Exit::bad_data) with the list of files when more than
  // max_bad_fraction of a part's films were found bad by this rank, and whatever else befell a worker in
  // reading this batch; after that it throws the same again.
  Batch next();

  // The bad files met up to the batch given last, sorted by part and number. A file may be good for some
  // windows and bad for others; it counts as bad.
  std::vector<BadFile> bad_files() const;

 private:
  class Impl;
  std::unique_ptr<Impl> impl_;
};

// The lists of several ranks as one: sorted, each file once.
std::vector<BadFile> merge_bad_files(std::vector<BadFile> files);

// Throws Error(Exit::bad_data) with the names and reasons if more than max_fraction of the `files` files are
// bad. bad: distinct files of one part.
void check_bad_fraction(const std::vector<BadFile>& bad, int64_t files, double max_fraction);

}  // namespace orrery
