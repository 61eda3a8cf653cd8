#pragma once
// The given frames of requests. Called by the generate command, for all samples before anything is loaded,
// and again for each when its film is made.
#include <ATen/core/Tensor.h>

#include <functional>

#include "infer/requests.h"

namespace orrery {

// uint8 (N,H,W,3): the last frames of input_path, as many as are given; undefined for text2world. Throws
// Error that names the file and the reason, too few frames among them. max_pixels: of a frame.
at::Tensor given_frames(const FilmRequest& request, int64_t max_pixels);

// Reads the given frames of all requests; returns what cannot be read, a line each.
using OnInput = std::function<void(const FilmRequest& request, const at::Tensor& frames)>;
std::vector<std::string> check_inputs(const std::vector<FilmRequest>& requests, int64_t max_pixels,
                                      const OnInput& on_input);

}  // namespace orrery
