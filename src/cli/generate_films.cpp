#include "cli/generate_films.h"

#include <ATen/ops/full.h>
#include <ATen/ops/zeros.h>

#include <algorithm>
#include <iostream>

#include "base/version.h"
#include "ckpt/atomic_file.h"
#include "ckpt/digest.h"
#include "ckpt/folder_lock.h"
#include "cli/ranks_here.h"
#include "infer/film_batch.h"
#include "infer/make_text_encoder.h"
#include "infer/make_tokenizer.h"
#include "infer/request_inputs.h"
#include "model/presets.h"
#include "parallel/agreement.h"
#include "parallel/context_split.h"
#include "parallel/row_exchange.h"
#include "plan/film_plan.h"
#include "train/device_mesh.h"

namespace orrery::cli {
namespace {

namespace fs = std::filesystem;

constexpr int64_t kFactor = 8;                // of the tokenizers, in space
constexpr double kOtherGroups_s = 7 * 86400;  // a group may wait so long for others to finish their films

FilmLimits limits_of(const GenerateOptions& o, const Config& c) {
  const DiTConfig net = dit_config(c);
  return {.frames = c.data.frames,
          .height = c.data.height,
          .width = c.data.width,
          .size_multiple = kFactor * net.patch_spatial,
          .max_height = kFactor * net.max_img_h,
          .max_width = kFactor * net.max_img_w,
          .num_generations = o.num_generations};
}

// Groups of ranks that make a film together: how many there are, and the Comms of this rank's.
class Groups {
 public:
  Groups(const GenerateOptions& o, const Config& c, World& world)
      : device_(device_comm(c.numerics, world)), mesh_(mesh_of(o, c, world, device_.get())) {
    group_ = mesh_.coordinate(Axis::replicate);
    const int64_t place = mesh_.coordinate(Axis::shard) * mesh_.shape().context + mesh_.context().rank();
    all_ = world.comm().split(group_, place, "film");
  }
  FilmShare share() const { return {group_, mesh_.shape().replicate}; }
  // The axis of weight shards serves for the two branches of the guidance: films are made with whole weights.
  FilmRanks ranks() const { return {&mesh_.context(), &mesh_.shard(), all_.get()}; }
  Comm& on_device() const { return mesh_.along({Axis::shard, Axis::context}); }

  static int size(const GenerateOptions& o) {
    return static_cast<int>(o.context_parallel_size) * (o.cfg_parallel ? 2 : 1);
  }

 private:
  static Mesh mesh_of(const GenerateOptions& o, const Config& c, World& world, Comm* device) {
    ParallelConfig parallel = c.parallel;
    parallel.replicate = world.size() / size(o);
    parallel.shard = o.cfg_parallel ? 2 : 1;
    parallel.context = o.context_parallel_size;
    return make_mesh(parallel, world, device);
  }

  std::unique_ptr<Comm> device_;
  Mesh mesh_;
  int group_ = 0;
  std::unique_ptr<Comm> all_;
};

void check_ranks(const GenerateOptions& o, const Config& c, const World& world) {
  require(world.size() % Groups::size(o) == 0, "generate: ", world.size(),
          " ranks do not divide into groups of ", Groups::size(o),
          " (context_parallel_size = ", o.context_parallel_size,
          o.cfg_parallel ? ", times the two branches of cfg_parallel)" : ")");
  if (o.context_parallel_size == 1) return;
  const int64_t latent = 1 + (c.data.frames - 1) / 4;
  try {
    frame_split(latent, dit_config(c).num_heads, o.context_parallel_size);
  } catch (const Error& error) {
    fail("context_parallel_size: ", error.what());
  }
}

FilmFolderOptions folder_options(const GenerateOptions& o, const Config& c, const World& world) {
  FilmFolderOptions options{.images = c.data.frames == 1, .fps = c.sample.fps};
  options.facts = {{"weights", o.weights.string()},
                   {"sampler", std::string(name_of(c.sample.sampler)) + ", " +
                                   std::string(name_of(c.sample.sigmas)) + " levels"},
                   {"clips of", text_of(c.data.frames, " x ", c.data.height, " x ", c.data.width)},
                   {"ranks", text_of(world.size())},
                   {"orrery", std::string(version())}};
  return options;
}

// All that ranks must have in common, as text: the first rank says which films are made, by number.
std::string common_text(const GenerateOptions& o, Config& c, const RequestList& samples) {
  std::string text =
      text_of("out = ", o.out, "\nweights = ", o.weights.string(), "\nnum_generations = ", o.num_generations,
              "\ncontext_parallel_size = ", o.context_parallel_size, "\ncfg_parallel = ", o.cfg_parallel,
              "\nkeep_going = ", o.keep_going, "\n");
  for (const FilmRequest& r : samples.requests)
    text += json_of(r).dump(-1, ' ', false, nlohmann::json::error_handler_t::replace) + "\n";
  for (const std::string& line : samples.problems) text += line + "\n";
  return text + ini_of(settings_of(c));
}

// All that is wrong with the samples, their inputs among it. Nothing was written yet.
void require_right(const RequestList& samples, const Config& c) {
  std::vector<std::string> problems = samples.problems;
  const auto inputs =
      check_inputs(samples.requests, c.data.max_pixels, [](const FilmRequest&, const at::Tensor&) {});
  problems.insert(problems.end(), inputs.begin(), inputs.end());
  require_no_problems(problems);
}

// The films that are still to be made. Writes nothing.
std::vector<FilmTask> films_to_make(const GenerateOptions& o, Config& c,
                                    const std::vector<FilmRequest>& requests, const FilmFolder& folder) {
  const uint64_t model = weights_digest(o.weights);
  std::string settings = film_settings(c);
  for (const auto& digests : {tokenizer_digests(o.weights, c), text_digests(c.text)})
    for (const auto& [name, value] : digests) settings += text_of(name, " = ", value, "\n");
  std::vector<FilmTask> tasks;
  for (size_t i = 0; i < folder.items().size(); ++i) {
    const FilmItem& item = folder.items()[i];
    const FilmTask task = {i, film_key(requests[item.request], item.seed, model, settings)};
    if (!o.resume || !folder.is_finished(item, task.key)) tasks.push_back(task);
  }
  return tasks;
}

// What lies in the folder before the first film.
void write_folder(const GenerateOptions& o, Config& c, const std::vector<FilmRequest>& requests,
                  const std::vector<FilmTask>& tasks, FilmFolder& folder) {
  folder.prepare();
  require_no_problems(
      check_inputs(requests, c.data.max_pixels,
                   [&](const FilmRequest& r, const at::Tensor& frames) { folder.keep_given(r, frames); }));
  write_whole(fs::path(o.out) / "config.ini", ini_of(settings_of(c)));
  for (const FilmTask& task : tasks) folder.forget(folder.items()[task.item]);
  folder.refresh_gallery(true);
}

int64_t evaluations(const GenerateOptions& o, const Config& c, const FilmRequest& r) {
  const int64_t levels = flow::steps_of_levels(c.sample.sigmas, r.num_steps);
  const auto chunks = static_cast<int64_t>(film_chunks(r, r.seed, c.data.frames).size());
  return levels * chunks * (o.cfg_parallel ? 1 : 2);
}

// Refuses the largest film if it would not fit a rank's memory; a GPU that is not known is not judged.
void check_memory(const GenerateOptions& o, const Config& c, const std::vector<FilmRequest>& requests,
                  const World& world) {
  const auto ceilings = ceilings_here(c, world);
  if (!ceilings) return;
  const auto pixels = [&](const FilmRequest& r) {
    const FilmSize size = film_size(r, c.data);
    return size.height * size.width;
  };
  const FilmRequest& largest = *std::max_element(
      requests.begin(), requests.end(), [&](const auto& a, const auto& b) { return pixels(a) < pixels(b); });
  const FilmSize size = film_size(largest, c.data);
  const FilmPlan plan = plan_film(c,
                                  {.height = size.height,
                                   .width = size.width,
                                   .context = o.context_parallel_size,
                                   .evaluations = evaluations(o, c, largest)},
                                  *ceilings);
  const std::string line = text_of("sample ", largest.name, ", ", c.data.frames, " x ", size.height, " x ",
                                   size.width, ": ", one_line(plan));
  if (!plan.fits())
    throw Error(
        largest.where + ": " + line +
            "\n  does not fit: choose a smaller resolution, or more ranks with --context-parallel-size",
        Exit::out_of_memory);
  std::cout << "plan: " << line << "\n";
}

// The first rank's tasks, on every rank.
std::vector<FilmTask> shared(std::vector<FilmTask> tasks, Comm& comm) {
  at::Tensor count = at::full({1}, static_cast<int64_t>(tasks.size()), at::kLong);
  comm.broadcast(count, 0, "number of films").wait();
  tasks.resize(static_cast<size_t>(count.item<int64_t>()));
  if (tasks.empty()) return tasks;
  at::Tensor rows = at::zeros({static_cast<int64_t>(tasks.size()), 2}, at::kLong);
  auto* const values = rows.mutable_data_ptr<int64_t>();
  for (size_t i = 0; i < tasks.size(); ++i) {
    values[2 * i] = static_cast<int64_t>(tasks[i].item);
    values[2 * i + 1] = static_cast<int64_t>(tasks[i].key);
  }
  comm.broadcast(rows, 0, "films").wait();
  for (size_t i = 0; i < tasks.size(); ++i)
    tasks[i] = {static_cast<size_t>(values[2 * i]), static_cast<uint64_t>(values[2 * i + 1])};
  return tasks;
}

// Ranks of a group share the autoencoder's work by rows of latents, where every film has enough.
bool shares_tokenizer(const Config& c, const std::vector<FilmRequest>& requests, int group) {
  const auto has_rows = [&](const FilmRequest& r) { return film_size(r, c.data).height / kFactor >= group; };
  return c.tokenizer.kind == TokenizerKind::wan && group > 1 &&
         std::all_of(requests.begin(), requests.end(), has_rows);
}

std::vector<std::string> make_all(const GenerateOptions& o, const Config& c,
                                  const std::vector<FilmRequest>& requests,
                                  const std::vector<FilmTask>& tasks, FilmFolder& folder, World& world) {
  const Groups groups(o, c, world);
  FilmRanks ranks = groups.ranks();
  const at::Device device = device_of(c.numerics, world.local_rank());
  ranks.decode_together = shares_tokenizer(c, requests, ranks.all->size());
  const RunTokenizer tokenizer = tokenizer_of_weights(
      o.weights, c, device, ranks.decode_together ? row_exchange(groups.on_device()) : nullptr);
  std::unique_ptr<TextEncoder> text;
  if (ranks.all->rank() == 0) text = make_text_encoder(c, device);
  DiT net(dit_config(c));
  net.materialize(device, scalar_type(c.numerics.dtype));
  load_weights(o.weights, net, c.sample.weights);
  FilmMaker maker(c, net, *tokenizer.tokenizer, ranks);
  maker.learn(texts_of(folder, requests, tasks, groups.share()), text.get());
  text.reset();
  return make_films(folder, requests, tasks, maker, *ranks.all,
                    {.keep_going = o.keep_going,
                     .max_pixels = c.data.max_pixels,
                     .share = groups.share(),
                     .say = [](const std::string& line) { std::cout << line + "\n"
                                                                    << std::flush; }});
}

}  // namespace

Exit generate_films(const GenerateOptions& o, Config& c, World& world) {
  const RequestList samples = read_requests(o.inputs, o.overrides, limits_of(o, c));
  const std::vector<FilmRequest>& requests = samples.requests;
  require_agreement(world.comm(), "what to generate", common_text(o, c, samples));
  check_ranks(o, c, world);
  FilmFolder folder(o.out, requests, o.num_generations, folder_options(o, c, world));
  std::unique_ptr<FolderLock> lock;
  std::vector<FilmTask> tasks;
  world.set_timeout(kOtherGroups_s);
  if (world.is_first()) {
    require_right(samples, c);
    std::error_code error;
    fs::create_directories(o.out, error);
    require(!error, "out: ", o.out, " cannot be made: ", error.message());
    lock = std::make_unique<FolderLock>(o.out);
    tasks = films_to_make(o, c, requests, folder);
    if (!tasks.empty()) check_memory(o, c, requests, world);
    write_folder(o, c, requests, tasks, folder);
  }
  tasks = shared(std::move(tasks), world.comm());
  std::vector<std::string> failures;
  world.set_timeout(static_cast<double>(c.parallel.timeout_s));
  if (!tasks.empty()) failures = make_all(o, c, requests, tasks, folder, world);
  world.set_timeout(kOtherGroups_s);
  std::string own;
  for (const std::string& line : failures) own += line + "\n";
  std::string all;
  for (const std::string& text : gather_texts(world.comm(), "failures", own)) all += text;
  if (!world.is_first()) return all.empty() ? Exit::done : Exit::failure;
  folder.refresh_gallery(true);
  const size_t there = folder.items().size() - tasks.size();
  if (there > 0) std::cout << there << " films were there already\n";
  std::cout << "gallery: " << (fs::path(o.out) / "index.html").string() << "\n";
  if (!all.empty()) std::cerr << "orrery: films that failed:\n" << all;
  return all.empty() ? Exit::done : Exit::failure;
}

}  // namespace orrery::cli
