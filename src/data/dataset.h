#pragma once
// What training reads: clips of films or episodes by number. Implemented by video_folder.h; the loader and
// evaluation know data only by this interface.
#include <ATen/core/Tensor.h>

#include <cstdint>
#include <exception>
#include <stop_token>
#include <string>
#include <vector>

#include "base/rng.h"

namespace orrery {

struct ClipShape {
  int64_t frames = 0, height = 0, width = 0;
  bool operator==(const ClipShape&) const = default;
};

struct Clip {
  at::Tensor video = {};    // uint8 [3,F,H,W] RGB, contiguous; undefined where there are latents
  at::Tensor latents = {};  // floating point [C,T,h,w], of a film in a cache; else undefined
  std::string caption = {};
  double fps = 0;                               // frames of the clip a second: the film's rate / stride
  int64_t first_frame = 0;                      // number of its first frame in the film
  int64_t source_frames = 0;                    // of the whole film
  int64_t source_height = 0, source_width = 0;  // stored pixels of the film
  std::string source = {};                      // path of the film
  std::string remark = {};                      // damage to the film that did not prevent reading; or empty
  at::Tensor padding_mask = {};  // float32 [H,W], 1 on padded pixels; undefined: nothing padded
};

// A file that gave no clip, and why; or one that is damaged, and how.
struct BadFile {
  int64_t part = 0;  // which data set of the loader
  int64_t index = 0;
  std::string name, reason;
};

// Thrown by Dataset::item when its stop token asks it to end.
struct Stopped final : std::exception {
  const char* what() const noexcept override { return "reading of a clip was stopped"; }
};

// All functions may be called by several threads at a time.
class Dataset {
 public:
  virtual ~Dataset() = default;
  virtual int64_t size() const = 0;
  virtual std::string name(int64_t index) const = 0;  // for messages and for matching with other files
  virtual ClipShape shape(int64_t index) const = 0;   // of the clips that item(index) gives
  virtual std::vector<ClipShape> shapes() const = 0;  // all that occur, in a fixed order

  // A clip of film `index`, 0 <= index < size(); random choices are drawn from a copy of rng, so that the
  // same stream gives the same clip. Throws Error that names the file if it gives no such clip: this must
  // depend on the file and rng alone, never on what was read before.
  virtual Clip item(int64_t index, const Rng& rng, const std::stop_token& stop = {}) const = 0;
};

// The first `count` readable clips by number (fewer if there are no more), each with the stream
// (seed, "clips", {index}). Unreadable films are passed over and named in bad. For fitting a tokenizer and
// for evaluation.
struct ReadClips {
  std::vector<Clip> clips;
  std::vector<int64_t> indices;
  std::vector<BadFile> bad;
};
ReadClips read_clips(const Dataset& data, uint64_t seed, int64_t count);

}  // namespace orrery
