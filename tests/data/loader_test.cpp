#include "data/loader.h"

#include <gmock/gmock.h>

#include "base/error.h"
#include "data/media_folder.h"

namespace orrery {
namespace {
using test::FilmFolder;

TEST(Loader, gives_batches) {
  FilmFolder folder;
  for (int i = 0; i < 6; ++i) folder.add(i, 7);
  DataConfig config;
  config.path = folder.path().string();
  config.frames = 5, config.height = 16, config.width = 24;
  Loader loader(loader_parts(config, open_data(config), 4), {.seed = 1});
  for (int step = 0; step < 5; ++step) {
    Batch batch = loader.next();
    EXPECT_EQ(batch.step, step);
    EXPECT_EQ(batch.video.sizes(), at::IntArrayRef({4, 3, 5, 16, 24}));
  }
}
}  // namespace
}  // namespace orrery
