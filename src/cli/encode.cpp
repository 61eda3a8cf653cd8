// orrery encode: latents of the films of a run, and embeddings of their prompts, into a folder that training
// reads in place of encoding them (data.cache). Under mpirun the ranks share the work.
#include <iostream>
#include <nlohmann/json.hpp>

#include "base/numerics.h"
#include "base/progress.h"
#include "ckpt/digest.h"
#include "ckpt/folder_lock.h"
#include "cli/check.h"
#include "cli/commands.h"
#include "cli/options.h"
#include "cli/ranks_here.h"
#include "infer/cache_facts.h"
#include "infer/encode_films.h"
#include "infer/make_text_encoder.h"
#include "infer/text_cache.h"
#include "infer/world_model.h"
#include "parallel/agreement.h"
#include "parallel/world.h"

namespace orrery::cli {
namespace {

namespace fs = std::filesystem;

struct Request {
  std::string out;
  int64_t windows = 1, per_shard = 16;
  bool text = false;
};

Settings table_of(Request& r, Config& c) {
  Settings s = settings_of(c);
  s.bind("out", r.out, "folder of the cache; of one that is there what it lacks is added");
  s.bind("windows", r.windows,
         "clips of a film, evenly spread over it; 0: one from each frame on, as training without a cache",
         {.least = 0});
  s.bind("text", r.text, "embeddings of the prompts too");
  s.bind("per_shard", r.per_shard, "films, or prompts, of a file; as many are in memory", {1, 1e6});
  return s;
}

// Shards that are not what was written are set aside, so that what this run has in them is encoded anew. The
// ranks share out the reading.
void set_damaged_aside(const fs::path& folder, World& world) {
  nlohmann::json mine = nlohmann::json::array();
  for (const auto& [shard, reason] : ShardCache::find_damage(folder, world.rank(), world.size()))
    mine.push_back({shard.filename().string(), reason});
  const auto replace = nlohmann::json::error_handler_t::replace;
  for (const std::string& text :
       gather_texts(world.comm(), "damaged shards", mine.dump(-1, ' ', false, replace)))
    for (const auto& damage : nlohmann::json::parse(text)) {
      if (!world.is_first()) continue;
      const fs::path shard = folder / damage[0].get<std::string>();
      std::cout << "damaged " << shard.string() << ", set aside as "
                << ShardCache::set_aside(shard).filename().string()
                << ", encoded anew: " << damage[1].get<std::string>() << "\n";
    }
}

// The folder, ready, as every rank sees it.
std::shared_ptr<const ShardCache> open_cache(const fs::path& folder, const CacheFacts& facts, World& world) {
  if (world.is_first()) ShardCache::prepare(folder, facts);
  world.comm().barrier("cache").wait();
  set_damaged_aside(folder, world);
  world.comm().barrier("damaged shards").wait();
  return std::make_shared<const ShardCache>(folder);
}

// Encodes this rank's share; the first rank shows how far it is.
EncodeReport with_progress(const Config& c, const DataSets& sets, const VideoTokenizer& tokenizer,
                           const EncodeJob& job, World& world) {
  constexpr int64_t kLines = 20;  // where there is no terminal
  const int64_t films = (static_cast<int64_t>(job.films.size()) + world.size() - 1) / world.size();
  std::unique_ptr<Progress> progress;
  if (world.is_first() && films > 0)
    progress = std::make_unique<Progress>(
        std::cout,
        ProgressOptions{.total = films, .unit = "film", .columns = [] { return terminal_columns(1); }});
  return encode_films(c, sets, tokenizer, job, [&](int64_t done) {
    if (!progress) return;
    if (done % std::max<int64_t>(1, films / kLines) == 0)
      progress->report(done, "");
    else
      progress->step(done, "");
  });
}

void encode_latents(const Request& r, const Config& c, const DataSets& sets, World& world) {
  const at::Device device = device_of(c.numerics, world.local_rank());
  const RunTokenizer tokenizer = starting_tokenizer(c, device, *sets.train);
  CacheFacts facts = latent_facts(c, tokenizer.record);
  facts["encode.windows"] = std::to_string(r.windows);
  const auto cache = open_cache(latents_folder(r.out), facts, world);
  EncodeJob job{.films = films_to_encode(c.data, sets, cache),
                .folder = cache->folder(),
                .first_shard = cache->next_shard(),
                .windows = r.windows,
                .films_per_shard = r.per_shard,
                .rank = world.rank(),
                .ranks = world.size()};
  std::string names = text_of(job.first_shard, "\n");
  for (const FilmToEncode& film : job.films)
    names += text_of(static_cast<int>(film.part), " ", film.index, "\n");
  require_agreement(world.comm(), "films to encode", hex_of(digest_of(names)));
  const int64_t films = sets.train->size() + (sets.images ? sets.images->size() : 0);
  const auto todo = static_cast<int64_t>(job.films.size());
  if (world.is_first() && todo < films) std::cout << films - todo << " of " << films << " films are there\n";
  const EncodeReport mine = with_progress(c, sets, *tokenizer.tokenizer, job, world);
  const EncodeReport all = merge_reports(mine, sets, c.data.max_bad_fraction, world.comm());
  if (!world.is_first()) return;
  for (const BadFile& file : all.damaged) std::cout << "damaged " << file.name << ": " << file.reason << "\n";
  for (const BadFile& file : all.bad) std::cout << "skipped " << file.name << ": " << file.reason << "\n";
  std::cout << "latents of " << all.windows << " clips of " << all.films
            << " films: " << cache->folder().string() << " (" << all.encode_s << " s of encoding, "
            << all.decode_s << " s of waiting for films, all ranks)\n";
}

void encode_text(const Request& r, const Config& c, const DataSets& sets, World& world) {
  const auto cache = open_cache(text_folder(r.out), text_facts(c, world.comm()), world);
  const TextJob job{.prompts = prompts_to_encode(c, sets, *cache),
                    .folder = cache->folder(),
                    .first_shard = cache->next_shard(),
                    .per_shard = r.per_shard,
                    .rank = world.rank(),
                    .ranks = world.size()};
  std::string prompts = text_of(job.first_shard, "\n");
  for (const std::string& prompt : job.prompts) prompts += prompt + "\n";
  require_agreement(world.comm(), "prompts to encode", hex_of(digest_of(prompts)));
  if (!job.prompts.empty())
    encode_prompts(*make_text_encoder(c, device_of(c.numerics, world.local_rank())), job);
  world.comm().barrier("prompts").wait();
  if (world.is_first())
    std::cout << "embeddings of " << job.prompts.size() << " prompts: " << cache->folder().string() << "\n";
}

Exit encode(const std::vector<std::string>& arguments, World& world) {
  Request request;
  Config config;
  const Settings settings = table_of(request, config);
  const Usage usage = {.command = "encode",
                       .summary = "encodes the films of a run once, for training to read (data.cache).",
                       .positional = "FILE.ini...",
                       .takes_ini = true,
                       .notes =
                           "Settings are those of the run; docs/latents.md says which must stay the same. "
                           "Starting it again\ngoes on where it was stopped."};
  if (parse_arguments(arguments, settings, usage).help) {
    if (world.is_first()) std::cout << help_text(settings, usage);
    return Exit::done;
  }
  require(!request.out.empty(), "encode: --out=DIR is missing (orrery encode --help tells more)");
  check_config(config);
  choose_kernels(config.numerics);
  share_cores(world);
  constexpr double kAnyTime_s = 30.0 * 24 * 3600;  // ranks meet at the end, when each has done its films
  world.set_timeout(kAnyTime_s);
  require_agreement(world.comm(), "configuration", ini_of(settings));
  std::error_code error;
  fs::create_directories(request.out, error);
  require(!error, "encode: the folder --out=", request.out, " cannot be made: ", error.message());
  const auto lock = world.is_first() ? std::make_unique<FolderLock>(request.out) : nullptr;
  const DataSets sets = open_data(config.data);
  encode_latents(request, config, sets, world);
  if (request.text) encode_text(request, config, sets, world);
  return Exit::done;
}

}  // namespace

Exit run_encode(const std::vector<std::string>& arguments) {
  return static_cast<Exit>(
      run_world({}, [&](World& world) { return static_cast<int>(encode(arguments, world)); }));
}

}  // namespace orrery::cli
