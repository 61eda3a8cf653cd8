#include "data/loader.h"

#include <ATen/ops/empty.h>

#include <cmath>
#include <condition_variable>
#include <cstring>
#include <deque>
#include <mutex>
#include <thread>

#include "base/error.h"
#include "data/order.h"

namespace orrery {
namespace {

constexpr int64_t kMaxBatch = int64_t{1} << 20;

int64_t allowed_bad(int64_t files, double fraction) {
  return static_cast<int64_t>(std::floor(fraction * static_cast<double>(files)));
}

std::vector<std::vector<int64_t>> films_by_shape(const Dataset& data) {
  const std::vector<ClipShape> shapes = data.shapes();
  std::vector<std::vector<int64_t>> groups(shapes.size());
  for (int64_t i = 0; i < data.size(); ++i) {
    const auto found = std::find(shapes.begin(), shapes.end(), data.shape(i));
    require(found != shapes.end(), data.name(i), ": its clip shape is not among those of the data set");
    groups[found - shapes.begin()].push_back(i);
  }
  return groups;
}

// A batch that is being read. Fields but for the tensors' contents change under the loader's lock.
struct Pending {
  Batch batch;
  int64_t part = 0, group = 0;
  std::vector<int64_t> films;  // planned for each clip
  int64_t started = 0, finished = 0;
  std::vector<BadFile> bad, damaged;
  std::exception_ptr error;  // of the lowest slot that has one
  int64_t error_slot = -1;
};

}  // namespace

void check_bad_fraction(const std::vector<BadFile>& bad, int64_t files, double max_fraction) {
  if (static_cast<int64_t>(bad.size()) <= allowed_bad(files, max_fraction)) return;
  constexpr size_t kListed = 100;
  std::string list;
  for (size_t i = 0; i < std::min(bad.size(), kListed); ++i)
    list += text_of("\n  ", bad[i].name, ": ", bad[i].reason);
  if (bad.size() > kListed) list += text_of("\n  and ", bad.size() - kListed, " more");
  throw Error(text_of("data: ", bad.size(), " of ", files, " files cannot be used, more than ",
                      "data.max_bad_fraction=", max_fraction, " allows:", list),
              Exit::bad_data);
}

std::vector<LoaderPart> loader_parts(const DataConfig& config, const DataSets& sets, int64_t batch) {
  if (sets.images == nullptr) return {{sets.train, batch, 1}};
  require(config.image_batches >= 1 && config.video_batches >= 0,
          "data.image_batches, data.video_batches: got ", config.image_batches, " and ", config.video_batches,
          "; wanted at least 1 and 0 with data.image_path set");
  return {{sets.images, config.image_batch > 0 ? config.image_batch : batch, config.image_batches},
          {sets.train, batch, config.video_batches}};
}

std::vector<BadFile> merge_bad_files(std::vector<BadFile> files) {
  std::sort(files.begin(), files.end(), [](const BadFile& a, const BadFile& b) {
    return std::tie(a.part, a.index, a.reason) < std::tie(b.part, b.index, b.reason);
  });
  const auto same = [](const BadFile& a, const BadFile& b) { return a.part == b.part && a.index == b.index; };
  files.erase(std::unique(files.begin(), files.end(), same), files.end());
  return files;
}

class Loader::Impl {
 public:
  Impl(std::vector<LoaderPart> parts, LoaderConfig config);
  ~Impl();
  Batch next();
  std::vector<BadFile> bad_files() const;

 private:
  struct Task {
    std::shared_ptr<Pending> pending;
    int64_t clip = 0;
  };
  void check() const;
  void work();
  std::optional<Task> take();
  std::shared_ptr<Pending> plan(int64_t step);
  void read(Pending& pending, int64_t clip);
  void place(const Clip& from, Batch& batch, int64_t clip);
  void report(Pending& pending);

  std::vector<LoaderPart> parts_;
  std::vector<int64_t> cycle_;
  LoaderConfig config_;
  std::vector<SampleOrder> orders_;
  using Found = std::map<std::pair<int64_t, int64_t>, BadFile>;  // by part and number
  Found bad_, damaged_;                                          // in the batches that next() gave

  std::mutex mutex_;
  std::condition_variable_any work_there_, batch_done_;
  std::deque<std::shared_ptr<Pending>> queue_;
  int64_t next_step_ = 0;
  std::stop_source stop_;
  std::vector<std::jthread> threads_;
};

void Loader::Impl::check() const {
  require(!parts_.empty(), "loader: no data set");
  require(config_.world >= 1 && config_.rank >= 0 && config_.rank < config_.world, "loader: rank ",
          config_.rank, " of ", config_.world);
  require(config_.workers >= 1 && config_.workers <= 1024, "data.workers: got ", config_.workers,
          ", wanted 1 to 1024");
  require(config_.prefetch >= 1, "data.prefetch: got ", config_.prefetch, ", wanted 1 or more");
  require(config_.start_step >= 0, "loader: starts at step ", config_.start_step);
  require(config_.max_bad_fraction >= 0 && config_.max_bad_fraction <= 1, "data.max_bad_fraction: got ",
          config_.max_bad_fraction, ", wanted 0 to 1");
  for (const LoaderPart& part : parts_) {
    require(part.data != nullptr && part.data->size() > 0, "loader: a data set without films");
    require(part.batch >= 1 && part.batch <= kMaxBatch, "batch of ", part.batch, " clips, wanted 1 to ",
            kMaxBatch, " (train.batch, data.image_batch)");
    require(part.batch % config_.world == 0, "batch of ", part.batch, " clips on ", config_.world,
            " data-parallel ranks: each must get the same number (train.batch, data.image_batch)");
  }
}

Loader::Impl::Impl(std::vector<LoaderPart> parts, LoaderConfig config)
    : parts_(std::move(parts)), config_(std::move(config)), next_step_(config_.start_step) {
  check();
  for (const LoaderPart& part : parts_) {
    cycle_.push_back(part.per_cycle);
    orders_.emplace_back(config_.seed, orders_.size(), part.batch, films_by_shape(*part.data));
  }
  cycle_position(0, cycle_);
  for (int64_t i = 0; i < config_.workers; ++i) threads_.emplace_back([this] { work(); });
}

Loader::Impl::~Impl() {
  stop_.request_stop();
  threads_.clear();
}

// Lays out the batch of a step: which films, and memory for their clips.
std::shared_ptr<Pending> Loader::Impl::plan(int64_t step) {
  auto pending = std::make_shared<Pending>();
  const CyclePosition at = cycle_position(step, cycle_);
  SampleOrder& order = orders_[at.part];
  const LoaderPart& part = parts_[at.part];
  const int64_t local = part.batch / config_.world;
  pending->part = at.part;
  Batch& batch = pending->batch;
  batch.step = step;
  try {
    pending->group = order.group(at.batch);
    batch.latents.resize(local);
    batch.captions.resize(local);
    batch.sources.resize(local);
    batch.fps.resize(local);
    batch.films.resize(local);
    batch.first_frames.resize(local);
    for (int64_t i = 0; i < local; ++i) {
      batch.samples.push_back(config_.rank * local + i);
      pending->films.push_back(order.film(at.batch, batch.samples.back()));
    }
    const auto [frames, height, width] = part.data->shape(pending->films[0]);
    batch.is_image = frames == 1;
    batch.video = at::empty({local, 3, frames, height, width}, at::kByte);
  } catch (...) {
    pending->error = std::current_exception();
    pending->started = pending->finished = local;
  }
  return pending;
}

// The next clip to read, in the order of steps and slots; nothing when the loader ends.
std::optional<Loader::Impl::Task> Loader::Impl::take() {
  std::unique_lock lock(mutex_);
  const auto unstarted = [&] {
    return std::find_if(queue_.begin(), queue_.end(), [](const auto& pending) {
      return pending->started < static_cast<int64_t>(pending->films.size());
    });
  };
  const auto has_room = [&] { return static_cast<int64_t>(queue_.size()) < config_.prefetch; };
  for (;;) {
    work_there_.wait(lock, stop_.get_token(), [&] { return has_room() || unstarted() != queue_.end(); });
    if (stop_.stop_requested()) return std::nullopt;
    if (const auto found = unstarted(); found != queue_.end()) return Task{*found, (*found)->started++};
    queue_.push_back(plan(next_step_++));
    work_there_.notify_all();
    batch_done_.notify_all();  // if it failed
  }
}

void Loader::Impl::place(const Clip& from, Batch& batch, int64_t clip) {
  const at::Tensor target = batch.video.select(0, clip);
  if (from.latents.defined()) {
    batch.latents[clip] = from.latents;
  } else {
    require(from.video.scalar_type() == at::kByte && from.video.sizes() == target.sizes() &&
                from.video.is_contiguous(),
            from.source, ": clip of ", from.video.sizes(), ", the batch has clips of ", target.sizes());
    std::memcpy(target.mutable_data_ptr<uint8_t>(), from.video.const_data_ptr<uint8_t>(), from.video.numel());
  }
  batch.captions[clip] = from.caption;
  batch.sources[clip] = from.source;
  batch.fps[clip] = from.fps;
  batch.first_frames[clip] = from.first_frame;
  if (!from.padding_mask.defined()) return;
  const int64_t height = target.size(2), width = target.size(3);
  const std::scoped_lock lock(mutex_);
  if (!batch.padding_mask.defined()) {  // filled here: ATen would start a team of threads for it
    batch.padding_mask = at::empty({batch.video.size(0), 1, height, width}, at::kFloat);
    std::fill_n(batch.padding_mask.mutable_data_ptr<float>(), batch.padding_mask.numel(), 0.f);
  }
  std::copy_n(from.padding_mask.const_data_ptr<float>(), height * width,
              batch.padding_mask.mutable_data_ptr<float>() + clip * height * width);
}

// Reads one clip, or the first of its replacements that can be read.
void Loader::Impl::read(Pending& pending, int64_t clip) {
  const Dataset& data = *parts_[pending.part].data;
  const SampleOrder& order = orders_[pending.part];
  const int64_t step = cycle_position(pending.batch.step, cycle_).batch, slot = pending.batch.samples[clip];
  // More failures than are allowed in all end the run anyway.
  const int64_t most =
      std::min(order.films(pending.group), allowed_bad(data.size(), config_.max_bad_fraction) + 1);
  int64_t film = pending.films[clip];
  std::string reason;
  for (int64_t attempt = 0;; film = order.replacement(pending.group, step, slot, attempt)) {
    try {
      const Rng rng(config_.seed, "clip",
                    {static_cast<uint64_t>(pending.part), static_cast<uint64_t>(step),
                     static_cast<uint64_t>(slot), static_cast<uint64_t>(attempt)});
      const Clip found = data.item(film, rng, stop_.get_token());
      place(found, pending.batch, clip);
      if (!found.remark.empty()) {
        const std::scoped_lock lock(mutex_);
        pending.damaged.push_back({pending.part, film, data.name(film), found.remark});
      }
      pending.batch.films[clip] = film;
      return;
    } catch (const Error& error) {
      if (error.code() != Exit::bad_input) throw;
      reason = error.what();
      const std::scoped_lock lock(mutex_);
      pending.bad.push_back({pending.part, film, data.name(film), reason});
    }
    if (++attempt > most)
      throw Error(text_of("data: none of the ", most, " films tried for step ", pending.batch.step, " slot ",
                          slot, " can be read; the last one: ", reason),
                  Exit::bad_data);
  }
}

void Loader::Impl::work() {
  const c10::InferenceMode guard;
  while (const auto task = take()) {
    Pending& pending = *task->pending;
    std::exception_ptr error;
    try {
      read(pending, task->clip);
    } catch (...) {
      error = std::current_exception();
    }
    const std::scoped_lock lock(mutex_);
    if (error && (pending.error_slot < 0 || task->clip < pending.error_slot)) {
      pending.error = error;
      pending.error_slot = task->clip;
    }
    if (++pending.finished == static_cast<int64_t>(pending.films.size())) batch_done_.notify_all();
  }
}

// Names the files that a batch brought to light, and ends the run if there are too many.
void Loader::Impl::report(Pending& pending) {
  const auto name_new = [](std::vector<BadFile>& files, Found& known, const auto& callback) {
    std::sort(files.begin(), files.end(), [](const BadFile& a, const BadFile& b) {
      return std::tie(a.index, a.reason) < std::tie(b.index, b.reason);
    });
    for (const BadFile& file : files)
      if (known.emplace(std::pair(file.part, file.index), file).second && callback) callback(file);
  };
  name_new(pending.damaged, damaged_, config_.on_damaged);
  if (pending.bad.empty()) return;
  name_new(pending.bad, bad_, config_.on_bad);
  std::vector<BadFile> of_part;
  for (const auto& [key, file] : bad_)
    if (key.first == pending.part) of_part.push_back(file);
  check_bad_fraction(of_part, parts_[pending.part].data->size(), config_.max_bad_fraction);
}

Batch Loader::Impl::next() {
  std::shared_ptr<Pending> front;
  {
    std::unique_lock lock(mutex_);
    batch_done_.wait(lock, [&] {
      return !queue_.empty() &&
             queue_.front()->finished >= static_cast<int64_t>(queue_.front()->films.size());
    });
    front = queue_.front();
  }
  report(*front);
  if (front->error) std::rethrow_exception(front->error);
  const std::scoped_lock lock(mutex_);
  queue_.pop_front();
  work_there_.notify_all();
  return std::move(front->batch);
}

std::vector<BadFile> Loader::Impl::bad_files() const {
  std::vector<BadFile> files;
  for (const auto& [key, file] : bad_) files.push_back(file);
  return files;
}

Loader::Loader(std::vector<LoaderPart> parts, LoaderConfig config)
    : impl_(std::make_unique<Impl>(std::move(parts), std::move(config))) {}
Loader::~Loader() = default;
Batch Loader::next() {
  return impl_->next();
}
std::vector<BadFile> Loader::bad_files() const {
  return impl_->bad_files();
}

}  // namespace orrery
