// Chunks of long films, and the clip that each starts from.
#include "infer/continuation.h"

#include <ATen/ops/cat.h>
#include <ATen/ops/equal.h>
#include <ATen/ops/full.h>
#include <gtest/gtest.h>

#include "base/error.h"
#include "infer/condition_clip.h"

namespace orrery {
namespace {

FilmRequest long_film(int64_t frames, int64_t chunk, int64_t overlap, InferenceType type) {
  FilmRequest r;
  r.type = type;
  r.enable_autoregressive = true;
  r.num_output_frames = frames;
  r.chunk_size = chunk;
  r.chunk_overlap = overlap;
  return r;
}

TEST(FilmChunks, without_autoregression_a_film_has_the_models_length) {
  FilmRequest r;
  r.type = InferenceType::video2world;
  const auto chunks = film_chunks(r, 9, 93);
  ASSERT_EQ(chunks.size(), 1u);
  EXPECT_EQ(chunks[0].frames, 93);
  EXPECT_EQ(chunks[0].given, 2);
  EXPECT_EQ(chunks[0].seed, 9);
}

TEST(FilmChunks, follow_the_reference) {
  // 1 + ceil((200 - 77) / 76) = 3 chunks, which begin at 0, 76 and 152; the last one is cut.
  const auto chunks = film_chunks(long_film(200, 77, 1, InferenceType::video2world), 5, 93);
  ASSERT_EQ(chunks.size(), 3u);
  const int64_t first[] = {0, 76, 152}, frames[] = {77, 77, 48}, given[] = {2, 1, 1};
  for (size_t k = 0; k < 3; ++k) {
    EXPECT_EQ(chunks[k].first, first[k]);
    EXPECT_EQ(chunks[k].frames, frames[k]);
    EXPECT_EQ(chunks[k].given, given[k]);
    EXPECT_EQ(chunks[k].carried, k == 0 ? 0 : 1);
    EXPECT_EQ(chunks[k].seed, 5 + static_cast<int64_t>(k));
  }
}

TEST(FilmChunks, cover_every_frame_once_beside_the_overlap) {
  for (int64_t chunk : {9, 13, 77})
    for (int64_t overlap : {0, 1, 5})
      for (int64_t frames = 1; frames < 300; ++frames) {
        int64_t end = 0;
        const auto chunks = film_chunks(long_film(frames, chunk, overlap, InferenceType::text2world), 0, 93);
        for (const FilmChunk& c : chunks) {
          EXPECT_EQ(c.first + c.carried, end);
          EXPECT_GT(c.frames, c.carried) << "a chunk that adds nothing";
          EXPECT_EQ(c.given, (c.carried + 3) / 4);
          EXPECT_EQ(given_pixels(c.given), c.carried);
          end = c.first + c.frames;
        }
        EXPECT_EQ(end, frames);
      }
}

TEST(ConditionClip, takes_the_last_frames_and_fills_up) {
  at::Tensor frames = at::full({7, 4, 4, 3}, 10, at::kByte);
  for (int64_t i = 0; i < 7; ++i) frames[i].fill_(i);
  const at::Tensor clip = condition_clip(frames, {.frames = 9, .height = 4, .width = 4, .given = 2});
  EXPECT_EQ(clip.sizes(), (at::IntArrayRef{3, 9, 4, 4}));
  const int wanted[] = {2, 3, 4, 5, 6, 6, 6, 6, 6};
  for (int64_t i = 0; i < 9; ++i) EXPECT_EQ(clip[0][i][0][0].item<int>(), wanted[i]);
  const at::Tensor image =
      condition_clip(frames, {.frames = 5, .height = 2, .width = 2, .given = 1, .filler = Filler::black});
  EXPECT_EQ(image[0][0][0][0].item<int>(), 6);
  EXPECT_EQ(image.slice(1, 1).max().item<int>(), 0);
  EXPECT_EQ(condition_clip({}, {.frames = 5, .height = 2, .width = 2}).max().item<int>(), 0);
}

TEST(ConditionClip, refuses_too_few_frames_and_too_short_clips) {
  const at::Tensor frames = at::full({4, 4, 4, 3}, 10, at::kByte);
  EXPECT_THROW(condition_clip(frames, {.frames = 9, .height = 4, .width = 4, .given = 2}), Error);
  EXPECT_THROW(condition_clip(frames, {.frames = 3, .height = 4, .width = 4, .given = 2}), Error);
  EXPECT_THROW(condition_clip({}, {.frames = 3, .height = 4, .width = 4, .given = 1}), Error);
}

}  // namespace
}  // namespace orrery
