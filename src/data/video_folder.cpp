#include "data/video_folder.h"

#include <ATen/ops/empty.h>

#include <atomic>
#include <cmath>
#include <mutex>
#include <thread>

#include "base/error.h"
#include "data/caption.h"
#include "media/decode.h"
#include "media/resize.h"

namespace orrery {
namespace {

namespace fs = std::filesystem;

constexpr double kImageFps = 30;                     // cosmos-predict2.5: images of the mixture
constexpr double kFallbackFps = 16;                  // dataset_video.py, for a film that does not tell
constexpr int64_t kDecodeBytes = int64_t{32} << 20;  // of stored frames held at a time while a clip is read
constexpr int64_t kIndexFrames = int64_t{1} << 22;   // of all films whose frame index is kept
constexpr int64_t kCacheBytes = int64_t{512} << 20;  // of each data set that is trained on
constexpr int64_t kCachedWindows = 8;                // a film with more clips is not worth caching

// What is known of a film after the first look; a failure is remembered, so that it is found once.
struct FilmFacts {
  std::string failure, remark;
  int64_t frames = 0, height = 0, width = 0;
  double fps = 0;
  std::shared_ptr<const VideoIndex> index;  // null if the store of indices is full
};

// uint8 [n,H,W,3] into frames first .. first + n - 1 of video, uint8 [3,F,H,W].
void to_planes(const at::Tensor& frames, const at::Tensor& video, int64_t first) {
  const int64_t count = frames.size(0), pixels = video.size(2) * video.size(3);
  const auto* in = frames.const_data_ptr<uint8_t>();
  auto* out = video.mutable_data_ptr<uint8_t>() + first * pixels;
  const int64_t plane = video.size(1) * pixels;
  for (int64_t f = 0; f < count; ++f, in += 3 * pixels, out += pixels)
    for (int64_t p = 0; p < pixels; ++p)
      for (int64_t c = 0; c < 3; ++c) out[c * plane + p] = in[3 * p + c];
}

void list_folder(const fs::path& folder, const fs::path& captions, std::vector<FilmFile>& films) {
  std::error_code error;
  fs::directory_iterator entry(folder, error);
  if (error == std::errc::no_such_file_or_directory) return;
  for (; !error && entry != fs::directory_iterator(); entry.increment(error)) {
    const fs::path& path = entry->path();
    const fs::file_type type = entry->status(error).type();
    error.clear();
    if (path.filename().string().starts_with('.') || type == fs::file_type::directory) continue;
    if (!has_video_extension(path) && !has_image_extension(path)) continue;
    films.push_back({path, captions / (path.stem().string() + ".txt")});
  }
  require(!error, folder.string(), ": the folder cannot be read: ", error.message());
}

}  // namespace

std::vector<FilmFile> list_films(const fs::path& folder) {
  std::error_code error;
  require(fs::is_directory(folder, error), "data: '", folder.string(),
          "' is not a folder; wanted one with videos/ and metas/");
  std::vector<FilmFile> films;
  for (const char* name : {"videos", "images"}) list_folder(folder / name, folder / "metas", films);
  require(!films.empty(), "data: no film or image in ", (folder / "videos").string(), " or ",
          (folder / "images").string(), "; wanted files such as videos/0001.mp4 with metas/0001.txt");
  std::sort(films.begin(), films.end(), [](const FilmFile& a, const FilmFile& b) {
    return std::pair(a.film.filename(), a.film) < std::pair(b.film.filename(), b.film);
  });
  return films;
}

class VideoFolder::Impl {
 public:
  Impl(std::vector<FilmFile> films, ClipOptions options);
  Clip item(int64_t index, Rng rng, const std::stop_token& stop);
  const FilmFile& film(int64_t index) const;
  ClipShape shape_of_bucket(int64_t bucket) const {
    return {options_.frames, options_.sizes[bucket].height, options_.sizes[bucket].width};
  }
  ClipShape shape(int64_t index) const { return shape_of_bucket(buckets_[index]); }
  const ClipOptions& options() const { return options_; }
  int64_t size() const { return static_cast<int64_t>(films_.size()); }

 private:
  std::shared_ptr<const FilmFacts> facts(int64_t index);
  std::shared_ptr<const FilmFacts> look(int64_t index) const;
  void sort_into_buckets();
  void read(int64_t index, const FilmFacts& facts, Clip& clip, const std::stop_token& stop) const;
  std::optional<Clip> cached(int64_t index, int64_t start);
  void keep(int64_t index, const Clip& clip);

  std::vector<FilmFile> films_;
  ClipOptions options_;
  int64_t span_ = 0;  // frames of film from the first to the last of a clip
  std::vector<int64_t> buckets_;

  std::mutex mutex_;  // guards what follows
  std::vector<std::shared_ptr<const FilmFacts>> facts_;
  int64_t index_frames_ = 0;
  std::map<std::pair<int64_t, int64_t>, Clip> cache_;  // by film and first frame
  int64_t cache_bytes_ = 0;
};

VideoFolder::Impl::Impl(std::vector<FilmFile> films, ClipOptions options)
    : films_(std::move(films)), options_(std::move(options)) {
  constexpr int64_t kMost = int64_t{1} << 20;
  require(options_.frames >= 1 && options_.frames <= kMost, "data.frames: got ", options_.frames,
          ", wanted 1 to ", kMost);
  require(options_.stride >= 1 && options_.stride <= kMost, "data.stride: got ", options_.stride,
          ", wanted 1 to ", kMost);
  require(options_.max_pixels >= 1, "data.max_pixels: got ", options_.max_pixels, ", wanted 1 or more");
  require(!options_.sizes.empty(), "data: no clip size given");
  span_ = (options_.frames - 1) * options_.stride + 1;
  facts_.resize(films_.size());
  buckets_.assign(films_.size(), 0);
  if (options_.sizes.size() > 1) sort_into_buckets();
}

const FilmFile& VideoFolder::Impl::film(int64_t index) const {
  require(index >= 0 && index < size(), "data: film ", index, " of ", size());
  return films_[index];
}

void VideoFolder::Impl::sort_into_buckets() {
  std::atomic<int64_t> next = 0;
  std::exception_ptr error;
  {
    std::vector<std::jthread> threads;
    for (int64_t t = 0; t < std::clamp<int64_t>(options_.workers, 1, size()); ++t)
      threads.emplace_back([&] {
        const c10::InferenceMode guard;
        try {
          for (int64_t i = next++; i < size(); i = next++) facts(i);
        } catch (...) {
          const std::scoped_lock lock(mutex_);
          error = std::current_exception();
        }
      });
  }
  if (error) std::rethrow_exception(error);
  std::vector<int64_t> films_of(options_.sizes.size(), 0);
  for (int64_t i = 0; i < size(); ++i)
    if (facts_[i]->failure.empty())
      ++films_of[buckets_[i] = nearest_bucket(options_.sizes, facts_[i]->height, facts_[i]->width)];
  const int64_t largest = std::max_element(films_of.begin(), films_of.end()) - films_of.begin();
  for (int64_t i = 0; i < size(); ++i)
    if (!facts_[i]->failure.empty()) buckets_[i] = largest;
}

// Opens the film: everything that makes it unfit for any clip is found here.
std::shared_ptr<const FilmFacts> VideoFolder::Impl::look(int64_t index) const {
  auto facts = std::make_shared<FilmFacts>();
  const FilmFile& film = films_[index];
  try {
    require(!fs::is_other(fs::status(film.film)), film.film.string(), ": neither a file nor a link to one");
    read_caption(film.caption);
    const VideoFile file(film.film, {.max_pixels = options_.max_pixels});
    facts->frames = file.frames();
    facts->height = file.height();
    facts->width = file.width();
    facts->fps = has_image_extension(film.film) ? kImageFps : file.fps().value();
    if (!std::isfinite(facts->fps) || facts->fps <= 0) facts->fps = kFallbackFps;
    facts->index = file.index();
    for (const std::string& remark : file.remarks())
      facts->remark.append(facts->remark.empty() ? "" : "; ").append(remark);
    require(facts->frames >= span_, film.film.string(), ": too short: ", facts->frames, " frames, a clip of ",
            options_.frames, options_.stride > 1 ? text_of(" (every ", options_.stride, "th)") : "",
            " needs ", span_);
  } catch (const Error& error) {
    facts->failure = error.what();
    facts->index.reset();
  }
  return facts;
}

std::shared_ptr<const FilmFacts> VideoFolder::Impl::facts(int64_t index) {
  {
    const std::scoped_lock lock(mutex_);
    if (facts_[index] != nullptr) return facts_[index];
  }
  std::shared_ptr<const FilmFacts> found = look(index);
  const std::scoped_lock lock(mutex_);
  if (facts_[index] == nullptr) {
    if (found->index != nullptr && index_frames_ + found->frames > kIndexFrames) {
      auto without = std::make_shared<FilmFacts>(*found);
      without->index.reset();
      found = without;
    } else if (found->index != nullptr) {
      index_frames_ += found->frames;
    }
    facts_[index] = found;
  }
  return facts_[index];
}

// Decodes a few frames at a time, so that a clip of large frames does not fill the memory.
void VideoFolder::Impl::read(int64_t index, const FilmFacts& facts, Clip& clip,
                             const std::stop_token& stop) const {
  const DecodeLimits limits{.max_pixels = options_.max_pixels};
  const fs::path& path = films_[index].film;
  VideoFile file = facts.index != nullptr ? VideoFile(path, facts.index, limits) : VideoFile(path, limits);
  const auto [frames, height, width] = shape(index);
  clip.video = at::empty({3, frames, height, width}, at::kByte);
  const int64_t frame_bytes = facts.height * facts.width * 3;
  const int64_t chunk = std::clamp<int64_t>(kDecodeBytes / frame_bytes, 1, frames);
  for (int64_t done = 0; done < frames; done += chunk) {
    if (stop.stop_requested()) throw Stopped();
    std::vector<int64_t> numbers;
    for (int64_t f = done; f < std::min(done + chunk, frames); ++f)
      numbers.push_back(clip.first_frame + f * options_.stride);
    const at::Tensor stored = file.read(numbers);
    if (options_.resize == Resize::stretch) {
      to_planes(resize_stretch(stored, height, width), clip.video, done);
    } else {
      const Padded padded = resize_fit_pad(stored, height, width);
      to_planes(padded.frames, clip.video, done);
      if (padded.resized_height != height || padded.resized_width != width)
        clip.padding_mask = padded.padding_mask;
    }
  }
}

std::optional<Clip> VideoFolder::Impl::cached(int64_t index, int64_t start) {
  const std::scoped_lock lock(mutex_);
  const auto found = cache_.find({index, start});
  return found == cache_.end() ? std::nullopt : std::optional(found->second);
}

// Clips stay for good until the budget is used up: every film is as likely as any other to come next.
void VideoFolder::Impl::keep(int64_t index, const Clip& clip) {
  const int64_t bytes = clip.video.numel() + static_cast<int64_t>(clip.caption.size() + clip.source.size());
  const std::scoped_lock lock(mutex_);
  if (cache_bytes_ + bytes > options_.cache_bytes) return;
  if (cache_.emplace(std::pair(index, clip.first_frame), clip).second) cache_bytes_ += bytes;
}

Clip VideoFolder::Impl::item(int64_t index, Rng rng, const std::stop_token& stop) {
  const FilmFile& file = film(index);
  const std::shared_ptr<const FilmFacts> known = facts(index);
  require(known->failure.empty(), known->failure);
  const int64_t windows = known->frames - span_ + 1;
  const auto start = static_cast<int64_t>(rng.below(static_cast<uint64_t>(windows)));
  if (auto clip = cached(index, start)) return *std::move(clip);
  Clip clip;
  clip.caption = read_caption(file.caption);
  clip.fps = known->fps / static_cast<double>(options_.stride);
  clip.first_frame = start;
  clip.source_frames = known->frames;
  clip.source_height = known->height;
  clip.source_width = known->width;
  clip.source = file.film.string();
  clip.remark = known->remark;
  read(index, *known, clip, stop);
  if (windows <= kCachedWindows) keep(index, clip);
  return clip;
}

VideoFolder::VideoFolder(std::vector<FilmFile> films, ClipOptions options)
    : impl_(std::make_unique<Impl>(std::move(films), std::move(options))) {}
VideoFolder::~VideoFolder() = default;
int64_t VideoFolder::size() const {
  return impl_->size();
}
std::string VideoFolder::name(int64_t index) const {
  return impl_->film(index).film.filename().string();
}
ClipShape VideoFolder::shape(int64_t index) const {
  impl_->film(index);
  return impl_->shape(index);
}
std::vector<ClipShape> VideoFolder::shapes() const {
  std::vector<ClipShape> shapes;
  for (size_t b = 0; b < impl_->options().sizes.size(); ++b) shapes.push_back(impl_->shape_of_bucket(b));
  return shapes;
}
Clip VideoFolder::item(int64_t index, const Rng& rng, const std::stop_token& stop) const {
  return impl_->item(index, rng, stop);
}

namespace {
ClipOptions clip_options(const DataConfig& config) {
  return {.frames = config.frames,
          .stride = config.stride,
          .sizes = bucket_sizes(config.height, config.width, config.buckets),
          .resize = config.resize,
          .max_pixels = config.max_pixels,
          .workers = config.workers};
}
}  // namespace

std::shared_ptr<const Dataset> open_films(const fs::path& folder, const DataConfig& config) {
  return std::make_shared<VideoFolder>(list_films(folder), clip_options(config));
}

DataSets open_data(const DataConfig& config) {
  std::vector<FilmFile> films = list_films(config.path);
  const auto count = static_cast<int64_t>(films.size());
  require(config.held_out >= 0 && config.held_out < count, "data.held_out: got ", config.held_out, " of the ",
          count, " films in ", config.path, "; wanted 0 or more, and at least one film left to train on");
  ClipOptions options = clip_options(config);
  options.cache_bytes = kCacheBytes;
  DataSets sets;
  if (config.held_out > 0)
    sets.held_out = std::make_shared<VideoFolder>(
        std::vector<FilmFile>(films.end() - config.held_out, films.end()), clip_options(config));
  films.resize(count - config.held_out);
  sets.train = std::make_shared<VideoFolder>(std::move(films), options);
  if (!config.image_path.empty()) {
    options.frames = options.stride = 1;
    sets.images = std::make_shared<VideoFolder>(list_films(config.image_path), options);
  }
  return sets;
}

}  // namespace orrery
