#include "data/video_folder.h"

#include <atomic>
#include <mutex>
#include <thread>

#include "base/error.h"
#include "data/caption.h"
#include "data/film.h"

namespace orrery {
namespace {

namespace fs = std::filesystem;

constexpr int64_t kIndexFrames = int64_t{1} << 22;   // of all films whose frame index is kept
constexpr int64_t kCacheBytes = int64_t{512} << 20;  // of each data set that is trained on
constexpr int64_t kWholeBytes = int64_t{256} << 20;  // stored frames decoded to keep one film (about 1 s)

// What is known of a film after the first look; a failure is remembered, so that it is found once.
struct Known {
  FilmFacts facts;
  std::string failure;
};

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
  int64_t num_starts(int64_t index);
  Clip clip(int64_t index, int64_t first_frame, const std::stop_token& stop);
  const FilmFile& film(int64_t index) const;
  ClipShape shape_of_bucket(int64_t bucket) const {
    return {options_.frames, options_.sizes[bucket].height, options_.sizes[bucket].width};
  }
  ClipShape shape(int64_t index) const { return shape_of_bucket(buckets_[index]); }
  const ClipOptions& options() const { return options_; }
  int64_t size() const { return static_cast<int64_t>(films_.size()); }

 private:
  std::shared_ptr<const Known> known(int64_t index);
  std::shared_ptr<const Known> look(int64_t index) const;
  void sort_into_buckets();
  FrameForm form(int64_t index) const {
    return {options_.sizes[buckets_[index]], options_.resize, options_.max_pixels};
  }
  std::shared_ptr<const Frames> whole(int64_t index, const FilmFacts& facts, const std::stop_token& stop);

  std::vector<FilmFile> films_;
  ClipOptions options_;
  int64_t span_ = 0;  // frames of film from the first to the last of a clip
  std::vector<int64_t> buckets_;

  std::mutex mutex_;  // guards what follows
  std::vector<std::shared_ptr<const Known>> known_;
  std::vector<std::shared_ptr<const Frames>> kept_;  // films that are held decoded
  int64_t index_frames_ = 0;
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
  known_.resize(films_.size());
  kept_.resize(films_.size());
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
          for (int64_t i = next++; i < size(); i = next++) known(i);
        } catch (...) {
          const std::scoped_lock lock(mutex_);
          error = std::current_exception();
        }
      });
  }
  if (error) std::rethrow_exception(error);
  std::vector<int64_t> films_of(options_.sizes.size(), 0);
  for (int64_t i = 0; i < size(); ++i)
    if (known_[i]->failure.empty())
      ++films_of[buckets_[i] =
                     nearest_bucket(options_.sizes, known_[i]->facts.height, known_[i]->facts.width)];
  const int64_t largest = std::max_element(films_of.begin(), films_of.end()) - films_of.begin();
  for (int64_t i = 0; i < size(); ++i)
    if (!known_[i]->failure.empty()) buckets_[i] = largest;
}

// Everything that makes the film unfit for any clip is found here.
std::shared_ptr<const Known> VideoFolder::Impl::look(int64_t index) const {
  auto found = std::make_shared<Known>();
  const auto& [film, caption] = films_[index];
  try {
    read_caption(caption);
    found->facts = look_at_film(film, options_.max_pixels);
    require(found->facts.frames >= span_, film.string(), ": too short: ", found->facts.frames,
            " frames, a clip of ", options_.frames,
            options_.stride > 1 ? text_of(" with data.stride=", options_.stride) : "", " needs ", span_);
  } catch (const Error& error) {
    found->failure = error.what();
    found->facts.index.reset();
  }
  return found;
}

std::shared_ptr<const Known> VideoFolder::Impl::known(int64_t index) {
  {
    const std::scoped_lock lock(mutex_);
    if (known_[index] != nullptr) return known_[index];
  }
  std::shared_ptr<const Known> found = look(index);
  const std::scoped_lock lock(mutex_);
  if (known_[index] != nullptr) return known_[index];
  if (found->facts.index != nullptr && index_frames_ + found->facts.frames > kIndexFrames) {
    auto without = std::make_shared<Known>(*found);
    without->facts.index.reset();
    found = without;
  } else if (found->facts.index != nullptr) {
    index_frames_ += found->facts.frames;
  }
  return known_[index] = found;
}

// The film's frames if it is one of those held decoded, else null. Which ones are depends on the film alone,
// not on what was read before: its frames are within its equal share of the cache.
std::shared_ptr<const Frames> VideoFolder::Impl::whole(int64_t index, const FilmFacts& facts,
                                                       const std::stop_token& stop) {
  const FrameForm wanted = form(index);
  if (3 * facts.frames * wanted.size.height * wanted.size.width > options_.cache_bytes / size() ||
      3 * facts.frames * facts.height * facts.width > kWholeBytes)
    return nullptr;
  {
    const std::scoped_lock lock(mutex_);
    if (kept_[index] != nullptr) return kept_[index];
  }
  auto frames = std::make_shared<const Frames>(
      read_frames(films_[index].film, facts, {.count = facts.frames}, wanted, stop));
  const std::scoped_lock lock(mutex_);
  return kept_[index] = frames;
}

int64_t VideoFolder::Impl::num_starts(int64_t index) {
  film(index);
  const std::shared_ptr<const Known> found = known(index);
  require(found->failure.empty(), found->failure);
  return found->facts.frames - span_ + 1;
}

Clip VideoFolder::Impl::clip(int64_t index, int64_t first_frame, const std::stop_token& stop) {
  const int64_t starts = num_starts(index);
  const auto& [film, caption] = this->film(index);
  require(first_frame >= 0 && first_frame < starts, film.string(), ": clip from frame ", first_frame,
          ", wanted one below ", starts);
  const FilmFacts facts = known(index)->facts;
  Clip clip;
  clip.caption = read_caption(caption);
  clip.fps = facts.fps / static_cast<double>(options_.stride);
  clip.first_frame = first_frame;
  clip.source_frames = facts.frames;
  clip.source_height = facts.height;
  clip.source_width = facts.width;
  clip.source = film.string();
  clip.remark = facts.remark;
  const FrameRun run{clip.first_frame, options_.frames, options_.stride};
  const std::shared_ptr<const Frames> all = whole(index, facts, stop);
  Frames frames = all != nullptr ? take_frames(*all, run) : read_frames(film, facts, run, form(index), stop);
  clip.video = std::move(frames.video);
  clip.padding_mask = std::move(frames.padding_mask);
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
  const auto starts = static_cast<uint64_t>(impl_->num_starts(index));
  return impl_->clip(index, static_cast<int64_t>(Rng(rng).below(starts)), stop);
}
const FilmFile& VideoFolder::file(int64_t index) const {
  return impl_->film(index);
}
int64_t VideoFolder::num_starts(int64_t index) const {
  return impl_->num_starts(index);
}
Clip VideoFolder::clip(int64_t index, int64_t first_frame, const std::stop_token& stop) const {
  return impl_->clip(index, first_frame, stop);
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
