// orrery generate: a film from a run's model, a prompt and a first image or film; or the figures of such
// films.
#include "infer/generate.h"

#include <ATen/ops/cat.h>
#include <ATen/ops/zeros.h>

#include <iostream>

#include "ckpt/checkpoint_folder.h"
#include "cli/commands.h"
#include "cli/options.h"
#include "data/video_folder.h"
#include "infer/make_tokenizer.h"
#include "media/decode.h"
#include "media/encode.h"
#include "media/resize.h"
#include "parallel/world.h"
#include "train/evaluate.h"

namespace orrery::cli {
namespace {

namespace fs = std::filesystem;

struct Request {
  std::string run, checkpoint, image, film, prompt, out, evaluate;
  int64_t clips = 16;
};

Settings table_of(Request& r, Config& c) {
  Settings s = settings_of(c);
  s.bind("run", r.run, "run folder of the model");
  s.bind("checkpoint", r.checkpoint, "folder of a checkpoint; empty: the run's newest");
  s.bind("image", r.image, "the given frame");
  s.bind("film", r.film, "its last frames are the given ones");
  s.bind("prompt", r.prompt, "what shall happen");
  s.bind("seed", c.sample.seed, "of the initial noise; another name of sample.seed", {0, 4294967295.0});
  s.bind("out", r.out, "the film to write (.mp4); with evaluate a folder");
  s.bind("evaluate", r.evaluate, "folder of films: generate their futures and print how close they come");
  s.bind("clips", r.clips, "evaluate: number of films", {.least = 1});
  return s;
}

// Settings of the run that generation reads. Moving another one has no effect, or would not fit the weights.
bool reaches_generation(const std::string& key) {
  if (key.find('.') == std::string::npos || key.starts_with("sample.") || key.starts_with("numerics."))
    return true;
  return key == "data.frames" || key == "data.height" || key == "data.width" || key == "data.resize" ||
         key == "data.stride" || key == "flow.condition_timestep" || key == "flow.replace_condition" ||
         key == "tokenizer.weights" || key == "tokenizer.dtype" || key == "tokenizer.encode_window" ||
         key == "tokenizer.decode_window";
}

void check(const Request& r, const Settings& table, const Settings& of_run) {
  for (const auto& row : of_run.all()) {
    require(reaches_generation(row.key) || table.find(row.key)->show() == row.show(), row.key, "=",
            table.find(row.key)->show(), " has no effect on generate: the run has ", row.show());
  }
  require(!r.out.empty(), "generate: --out is missing (orrery generate --help tells more)");
  require(r.image.empty() || r.film.empty(), "generate: got --image and --film, wanted one of them");
  require(
      r.evaluate.empty() || (r.image.empty() && r.film.empty() && r.prompt.empty()),
      "generate: --evaluate takes films and prompts from its folder, not from --image, --film or --prompt");
}

// uint8 (1,3,F,H,W): the given frames; behind them the last one again, which a causal tokenizer keeps apart.
at::Tensor clip_of(const Request& r, const Config& c) {
  const int64_t latent = 1 + (c.data.frames - 1) / 4, given = c.sample.condition_frames;
  const int64_t pixels = given == 0 || latent == 1 ? 0 : 4 * (given - 1) + 1;
  const std::string source = r.image.empty() ? r.film : r.image;
  require(source.empty() == (pixels == 0), "generate: sample.condition_frames=", given, " wants ",
          pixels == 0 ? "no --image or --film" : "an --image or a --film");
  if (pixels == 0) return at::zeros({1, 3, c.data.frames, c.data.height, c.data.width}, at::kByte);
  VideoFile file(source);
  require(file.frames() >= pixels, source, ": ", file.frames(), " frames, wanted ", pixels,
          " (sample.condition_frames=", given, ")");
  const at::Tensor frames =
      resize_cover_crop(file.read(file.frames() - pixels, pixels), c.data.height, c.data.width);
  const at::Tensor rest = frames.slice(0, pixels - 1).expand({c.data.frames - pixels, -1, -1, -1});
  return at::cat({frames, rest}).permute({3, 0, 1, 2}).unsqueeze(0).contiguous();
}

void print(const Evaluation& e, const std::string& out) {
  for (const auto& film : e.unreadable) std::cout << "skipped " << film << "\n";
  std::cout << "clips " << e.clips << "\npsnr_model_db " << e.psnr_model_db << "\npsnr_repeat_db "
            << e.psnr_repeat_db << "\n";
  if (e.judged > 0)
    std::cout << "prompt_obeyed " << e.prompt_obeyed << " (share of " << e.judged << " judged)\n";
  std::cout << "films and contact sheet: " << out << "\n";
}

void generate(const Request& r, const Config& c, World& world) {
  const fs::path checkpoint =
      r.checkpoint.empty() ? CheckpointFolder(r.run).newest() : fs::path(r.checkpoint);
  const at::Device device = device_of(c.numerics, world.local_rank());
  const RunTokenizer tokenizer = load_tokenizer(checkpoint, c, device);
  const auto text = make_text_encoder(c);
  DiT net(dit_config(c));
  net.materialize(device, scalar_type(c.numerics.dtype));
  load_weights(checkpoint, net, c.sample.weights);
  const Generator generator(c, net, denoiser_of(net), *tokenizer.tokenizer, *text);
  if (!r.evaluate.empty()) {
    const Evaluation e = evaluate(c, generator, *open_films(r.evaluate, c.data),
                                  {r.clips, r.out, {world.rank(), world.size(), true}}, world.comm());
    if (world.is_first()) print(e, r.out);
    return;
  }
  require(world.size() == 1, "generate: ", world.size(),
          " ranks for one film, wanted 1 (--evaluate shares films out)");
  const at::Tensor film =
      generator(clip_of(r, c), {r.prompt}, {c.sample.seed})[0].permute({1, 2, 3, 0}).contiguous();
  if (film.size(0) == 1 && fs::path(r.out).extension() == ".png")
    write_png(r.out, film[0]);
  else
    write_mp4(r.out, film, {.fps = {c.sample.fps, 1}});
  std::cout << r.out << "\n";
}

}  // namespace

Exit run_generate(const std::vector<std::string>& arguments) {
  return static_cast<Exit>(run_world({}, [&](World& world) {
    const Usage usage = {.command = "generate",
                         .summary = "makes a film with a run's model, or measures it on a folder of films.",
                         .notes = "Settings are those of RUN/config.ini; options given here win."};
    Request request;
    Config config, of_run;
    const Settings table = table_of(request, config), run_table = settings_of(of_run);
    if (parse_arguments(arguments, table, usage).help) {
      if (world.is_first()) std::cout << help_text(table, usage);
      return 0;
    }
    require(!request.run.empty(), "generate: --run=DIR is missing (orrery generate --help tells more)");
    config = {};
    read_ini(fs::path(request.run) / "config.ini", run_table);
    config = of_run;
    parse_arguments(arguments, table, usage);  // again, now on top of the run's settings
    check(request, table, run_table);
    generate(request, config, world);
    return 0;
  }));
}

}  // namespace orrery::cli
