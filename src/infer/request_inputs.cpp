#include "infer/request_inputs.h"

#include "base/error.h"
#include "infer/condition_clip.h"
#include "media/decode.h"

namespace orrery {

at::Tensor given_frames(const FilmRequest& r, int64_t max_pixels) {
  const int64_t pixels = given_pixels(r.given());
  if (pixels == 0) return {};
  VideoFile file(r.input_path, {.max_pixels = max_pixels});
  require(file.frames() >= pixels, r.input_path.string(), ": has ", file.frames(), " frames, wanted ", pixels,
          " for ", r.given(), " given latent frames");
  return file.read(file.frames() - pixels, pixels);
}

std::vector<std::string> check_inputs(const std::vector<FilmRequest>& requests, int64_t max_pixels,
                                      const OnInput& on_input) {
  std::vector<std::string> problems;
  for (const FilmRequest& r : requests) {
    try {
      on_input(r, given_frames(r, max_pixels));
    } catch (const Error& error) {
      problems.push_back(text_of(r.where, ": input_path: ", error.what()));
    }
  }
  return problems;
}

}  // namespace orrery
