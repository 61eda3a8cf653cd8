#pragma once
// A folder of films (or images) with captions as a data set:
//
//   DIR/videos/NAME.mp4  films (.mp4 .mov .webm .avi .mpg .mkv ...) and still images, in one folder, no
//   DIR/images/NAME.png  subfolders; other endings and hidden files are passed over; either may be missing
//   DIR/metas/NAME.txt   the caption: UTF-8, surrounding white space is dropped. An empty file is an empty
//                        caption; a missing one makes the film unreadable
//
// A clip is a random window of `frames` frames at the film's own rate (or every stride-th frame), all starts
// equally likely. Difference to the reference (cosmos-predict2.5, datasets/local_datasets/dataset_video.py),
// which draws the start below total - frames and so never takes the last window and refuses a film of exactly
// `frames` frames: here that film is one clip. A still image is a film of one frame.
#include <filesystem>
#include <memory>
#include <span>

#include "base/config.h"
#include "data/bucket.h"
#include "data/dataset.h"

namespace orrery {

struct FilmFile {
  std::filesystem::path film, caption;
  bool operator==(const FilmFile&) const = default;
};

// Films and images of DIR sorted by file name. Links count as what they lead to; a link that leads nowhere is
// listed, and so found bad when it is read. Throws Error if there are none.
std::vector<FilmFile> list_films(const std::filesystem::path& folder);

struct ClipOptions {
  int64_t frames = 0, stride = 1;
  std::vector<FrameSize> sizes;  // one, or buckets: a film has the size of the nearest aspect ratio
  Resize resize = Resize::stretch;
  int64_t max_pixels = 7680 * 4320;  // of a film's frame
  int64_t cache_bytes = 0;           // for films that are kept decoded: those within their share of it
  int64_t workers = 1;               // threads that look at the films first, if there are buckets
};

class VideoFolder final : public Dataset {
 public:
  // With more than one size every film is opened once to learn its aspect ratio; unreadable ones are counted
  // to the size that has most films, and are named when they are read.
  VideoFolder(std::vector<FilmFile> films, ClipOptions options);
  ~VideoFolder() override;

  int64_t size() const override;
  std::string name(int64_t index) const override;  // file name, "0001.mp4"
  ClipShape shape(int64_t index) const override;
  std::vector<ClipShape> shapes() const override;
  Clip item(int64_t index, const Rng& rng, const std::stop_token& stop = {}) const override;

  const FilmFile& file(int64_t index) const;
  // How many clips the film holds: they begin at its frames 0, 1, ... Error as item.
  int64_t num_starts(int64_t index) const;
  Clip clip(int64_t index, int64_t first_frame, const std::stop_token& stop = {}) const;

 private:
  class Impl;
  std::unique_ptr<Impl> impl_;
};

// The data sets of a run's configuration.
struct DataSets {
  std::shared_ptr<const VideoFolder> train;     // films of data.path but for the last data.held_out by name
  std::shared_ptr<const VideoFolder> held_out;  // these; null if data.held_out is 0
  std::shared_ptr<const VideoFolder> images;    // data.image_path, one-frame clips; null if that is empty
};
DataSets open_data(const DataConfig& config);

// Another folder of films, cut into clips as the configuration says; all of its films.
std::shared_ptr<const Dataset> open_films(const std::filesystem::path& folder, const DataConfig& config);

}  // namespace orrery
