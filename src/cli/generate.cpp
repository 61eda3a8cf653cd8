// orrery generate: films of samples in files (generate_films.h); a film from a prompt and a first image or
// film; or the figures of such films.
#include "infer/generate.h"
#include "infer/make_text_encoder.h"

#include <iostream>

#include "base/numerics.h"
#include "cli/commands.h"
#include "cli/generate_films.h"
#include "cli/ranks_here.h"
#include "data/video_folder.h"
#include "infer/condition_clip.h"
#include "infer/make_tokenizer.h"
#include "media/decode.h"
#include "media/encode.h"
#include "parallel/world.h"
#include "train/evaluate.h"

namespace orrery::cli {
namespace {

namespace fs = std::filesystem;

// uint8 (1,3,F,H,W): the given frames, and filler behind them.
at::Tensor clip_of(const GenerateOptions& o, const Config& c) {
  const int64_t given = c.data.frames == 1 ? 0 : c.sample.condition_frames, pixels = given_pixels(given);
  const std::string source = o.image.empty() ? o.film : o.image;
  require(source.empty() == (pixels == 0), "generate: sample.condition_frames=", given, " wants ",
          pixels == 0 ? "no --image or --film" : "an --image or a --film");
  at::Tensor frames;
  if (pixels > 0) {
    VideoFile file(source);
    require(file.frames() >= pixels, source, ": ", file.frames(), " frames, wanted ", pixels,
            " (sample.condition_frames=", given, ")");
    frames = file.read(file.frames() - pixels, pixels);
  }
  return condition_clip(frames, {c.data.frames, c.data.height, c.data.width, given}).unsqueeze(0);
}

void print(const Evaluation& e, const std::string& out) {
  for (const auto& film : e.unreadable) std::cout << "skipped " << film << "\n";
  std::cout << "clips " << e.clips << "\npsnr_model_db " << e.psnr_model_db << "\npsnr_repeat_db "
            << e.psnr_repeat_db << "\nssim_model " << e.ssim_model << "\nssim_repeat " << e.ssim_repeat
            << "\n";
  if (e.judged > 0)
    std::cout << "prompt_obeyed " << e.prompt_obeyed << " (share of " << e.judged << " judged)\n";
  std::cout << "films and contact sheet: " << out << "\n";
}

void generate(const GenerateOptions& o, const Config& c, World& world) {
  const at::Device device = device_of(c.numerics, world.local_rank());
  const RunTokenizer tokenizer = tokenizer_of_weights(o.weights, c, device);
  const auto text = make_text_encoder(c, device);
  DiT net(dit_config(c));
  net.materialize(device, scalar_type(c.numerics.dtype));
  load_weights(o.weights, net, c.sample.weights);
  const Generator generator(c, net, denoiser_of(net), *tokenizer.tokenizer, *text);
  if (!o.evaluate.empty()) {
    const Evaluation e = evaluate(c, generator, *open_films(o.evaluate, c.data),
                                  {o.clips, o.out, {world.rank(), world.size(), true}}, world.comm());
    if (world.is_first()) print(e, o.out);
    return;
  }
  require(world.size() == 1, "generate: ", world.size(),
          " ranks for one film, wanted 1 (-i and --evaluate share films out)");
  const at::Tensor film =
      generator(clip_of(o, c), {o.prompt}, {c.sample.seed})[0].permute({1, 2, 3, 0}).contiguous();
  if (film.size(0) == 1 && fs::path(o.out).extension() == ".png")
    write_png(o.out, film[0]);
  else
    write_mp4(o.out, film, {.fps = {c.sample.fps, 1}});
  std::cout << o.out << "\n";
}

}  // namespace

Exit run_generate(const std::vector<std::string>& arguments) {
  return static_cast<Exit>(run_world({}, [&](World& world) {
    Config config;
    const GenerateOptions options = parse_generate(arguments, config);
    if (options.help) {
      if (world.is_first()) std::cout << generate_help();
      return static_cast<int>(Exit::done);
    }
    share_cores(world);
    choose_kernels(config.numerics);
    if (!options.inputs.empty()) return static_cast<int>(generate_films(options, config, world));
    resolve_settings(config);
    generate(options, config, world);
    return static_cast<int>(Exit::done);
  }));
}

}  // namespace orrery::cli
