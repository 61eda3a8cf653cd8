// Saving, finding and going on from checkpoints, on one rank. checkpoint_mpi_test.cpp has several.
#include "train/checkpoint.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <fstream>

#include "base/error.h"
#include "ckpt/checkpoint_folder.h"
#include "fixtures.h"
#include "train/trainee.h"

namespace orrery {
namespace {

namespace fs = std::filesystem;
using testing::HasSubstr;

struct RunFolder {
  test::ScratchFolder folder;
  Config config(int64_t steps, int64_t batch) const {
    Config c = test::small_config(steps, batch);
    c.train.run_dir = folder.path();
    return c;
  }
  fs::path checkpoint(int64_t step) const { return CheckpointFolder(folder.path()).path_of(step); }
};

void expect_same_averages(test::Trainee& a, test::Trainee& b) {
  const auto &wa = a.step.averaged()->averages(), &wb = b.step.averaged()->averages();
  for (size_t i = 0; i < wa.size(); ++i) EXPECT_TRUE(at::equal(wa[i].tensor, wb[i].tensor)) << wa[i].name;
}

void flip_byte(const fs::path& path, int64_t at) {
  std::fstream file(path, std::ios::binary | std::ios::in | std::ios::out);
  file.seekg(at);
  const char byte = static_cast<char>(file.get() ^ 1);
  file.seekp(at);
  file.put(byte);
}

std::string message_of(const std::function<void()>& run) {
  try {
    run();
  } catch (const Error& error) {
    return error.what();
  }
  return "no error";
}

TEST(Checkpoint, resume_continues_bit_for_bit) {
  for (const Dtype dtype : {Dtype::float32, Dtype::bfloat16}) {
    const RunFolder run;
    Config config = run.config(8, 4);
    config.numerics.dtype = dtype;
    config.optim.master_weights = dtype == Dtype::float32;
    test::Trainee straight(config), first(config), second(config);
    straight.train(0, 8);
    first.train(0, 4);
    first.save(4);
    EXPECT_EQ(second.resume(), 4);
    EXPECT_EQ(second.train(4, 8), first.train(4, 8));
    test::expect_same_weights(straight, second);
    expect_same_averages(straight, second);
    EXPECT_EQ(second.net().video_samples.value().item<int64_t>(), 8 * 4);
  }
}

TEST(Checkpoint, training_under_a_save_changes_nothing_of_it) {
  const RunFolder run;
  const Config config = run.config(8, 2);
  test::Trainee straight(config), saved(config), resumed(config);
  straight.train(0, 4);
  saved.train(0, 4);
  CheckpointSaver saver(config, saved.state(), "", [](const SaveReport& r) { EXPECT_EQ(r.reason, ""); });
  saved.step.before_update = [&] { saver.before_update(); };
  saver.save(4, true);
  saved.train(4, 8);  // the copy is made under the first of these steps
  EXPECT_TRUE(saver.finish());
  EXPECT_EQ(resumed.resume(), 4);
  test::expect_same_weights(straight, resumed);
  expect_same_averages(straight, resumed);
}

TEST(Checkpoint, keeps_the_newest_and_every_nth) {
  const RunFolder run;
  Config config = run.config(8, 2);
  config.ckpt.keep = 2;
  config.ckpt.keep_every = 3;
  test::Trainee trainee(config);
  for (int64_t done = 1; done <= 6; ++done) trainee.save(done);
  std::vector<int64_t> steps;
  for (const auto& entry : CheckpointFolder(run.folder.path()).all()) steps.push_back(entry.step);
  EXPECT_EQ(steps, (std::vector<int64_t>{3, 5, 6}));
  EXPECT_EQ(test::read_file(run.folder / "checkpoints/latest"), "step_000000006\n");
}

TEST(Checkpoint, checkpoints_of_another_branch_are_set_aside) {
  const RunFolder run;
  Config config = run.config(8, 2);
  config.ckpt.keep = 3;
  test::Trainee trainee(config);
  trainee.save(2);
  trainee.save(7);
  supersede_checkpoints(config, run.checkpoint(2));
  EXPECT_EQ(test::read_file(run.folder / "checkpoints/latest"), "step_000000002\n");
  trainee.save(3);
  EXPECT_EQ(trainee.resume(), 3);
  EXPECT_TRUE(fs::exists(run.folder / "checkpoints/superseded_step_000000007"));
  EXPECT_TRUE(fs::exists(run.checkpoint(2)));
}

// Going on from elsewhere: an earlier checkpoint that lies in the folder belongs to another branch, too.
TEST(Checkpoint, all_checkpoints_are_set_aside_when_the_run_goes_on_from_another_folder) {
  const RunFolder run, other;
  const Config config = run.config(8, 2);
  test::Trainee trainee(config), stranger(other.config(8, 2));
  trainee.save(4);
  stranger.save(4);
  supersede_checkpoints(config, other.checkpoint(4));
  EXPECT_EQ(trainee.resume(), 0);
  EXPECT_TRUE(fs::exists(run.folder / "checkpoints/superseded_step_000000004"));
  EXPECT_FALSE(fs::exists(run.folder / "checkpoints/latest"));
}

TEST(Checkpoint, no_good_one_is_removed_for_the_sake_of_broken_ones) {
  const RunFolder run;
  Config config = run.config(8, 2);
  config.ckpt.keep = 2;
  test::Trainee trainee(config);
  trainee.save(1);
  trainee.save(2);
  fs::remove(run.checkpoint(2) / "rank_00000.h5");
  fs::create_directories(run.checkpoint(3));
  trainee.save(4);
  EXPECT_TRUE(fs::exists(run.checkpoint(1)));  // the second of the two that are whole
  trainee.save(5);
  EXPECT_FALSE(fs::exists(run.checkpoint(1)));
  EXPECT_FALSE(fs::exists(run.checkpoint(2)));
  EXPECT_TRUE(fs::exists(run.checkpoint(4)));
  EXPECT_EQ(CheckpointFolder(run.folder.path()).newest(), run.checkpoint(5));
}

TEST(Checkpoint, leftovers_of_an_interrupted_save_are_told_removed_and_not_resumed_from) {
  const RunFolder run;
  const Config config = run.config(8, 2);
  test::Trainee trainee(config);
  trainee.save(2);
  const CheckpointFolder folder(run.folder.path());
  fs::create_directories(folder.making(4, "1x1"));
  fs::create_directories(run.folder / "checkpoints/removing_step_000000001");
  fs::remove(run.folder / "checkpoints/latest");
  EXPECT_THAT(folder.tidy(), testing::ElementsAre(HasSubstr("removed making_step_000000004_1x1"),
                                                  HasSubstr("removed removing_step_000000001"),
                                                  HasSubstr("latest names step_000000002")));
  EXPECT_EQ(trainee.resume(), 2);
}

TEST(Checkpoint, a_damaged_one_is_set_aside_and_the_one_before_is_taken) {
  using Damage = std::function<void(const fs::path&)>;
  const std::vector<std::pair<std::string, Damage>> kDamages = {
      {"manifest flipped", [](const fs::path& p) { flip_byte(p / "manifest.json", 100); }},
      {"manifest gone", [](const fs::path& p) { fs::remove(p / "manifest.json"); }},
      {"shard gone", [](const fs::path& p) { fs::remove(p / "rank_00000.h5"); }},
      {"shard cut",
       [](const fs::path& p) {
         fs::resize_file(p / "rank_00000.h5", fs::file_size(p / "rank_00000.h5") - 1);
       }},
      {"shard flipped",
       [](const fs::path& p) {
         const Manifest manifest = read_manifest(p);
         flip_byte(p / "rank_00000.h5", manifest.tensors.at("net.x_embedder.proj.1.weight").pieces[0].offset);
       }},
      {"tokenizer flipped", [](const fs::path& p) { flip_byte(p / "tokenizer.safetensors", 1000); }}};
  const RunFolder good;
  const Config config = good.config(8, 2);
  test::Trainee fresh(config), trained(config), resumed(config);
  fresh.save(1);
  trained.train(0, 1);
  trained.save(2);
  for (const auto& [what, damage] : kDamages) {
    const RunFolder run;
    const Config here = run.config(8, 2);
    fs::copy(good.folder.path(), run.folder.path(), fs::copy_options::recursive);
    damage(run.checkpoint(2));
    Resume resume = find_checkpoint(here, *resumed.host);
    EXPECT_EQ(restore(resume, here, resumed.state(), [](const auto&) {}), 1) << what;
    EXPECT_THAT(resume.notes,
                testing::ElementsAre(HasSubstr("damaged checkpoint set aside as damaged_step_000000002")))
        << what;
    EXPECT_TRUE(fs::exists(run.folder / "checkpoints/damaged_step_000000002")) << what;
    test::expect_same_weights(fresh, resumed);
  }
}

TEST(Checkpoint, a_run_whose_checkpoints_are_all_damaged_does_not_start_from_nothing) {
  const RunFolder run;
  const Config config = run.config(8, 2);
  test::Trainee trainee(config);
  trainee.save(1);
  fs::remove(run.checkpoint(1) / "rank_00000.h5");
  EXPECT_THAT(message_of([&] { trainee.resume(); }), HasSubstr("no checkpoint can be resumed from"));
}

TEST(Checkpoint, weights_and_averages_load_by_name_and_strangers_are_listed) {
  const RunFolder run;
  Config config = run.config(8, 2);
  test::Trainee trainee(config), model(config), averages(config);
  trainee.train(0, 3);
  trainee.save(3);
  const auto folder = CheckpointFolder(run.folder.path()).newest();
  load_weights(folder, model.net(), Weights::model);
  test::expect_same_weights(trainee, model);
  load_weights(folder, averages.net(), Weights::ema);
  const NamedTensor& first = trainee.step.averaged()->averages().front();
  EXPECT_TRUE(at::equal(averages.net().parameters().front()->value(), first.tensor)) << first.name;
  EXPECT_FALSE(
      at::equal(averages.net().parameters().front()->value(), model.net().parameters().front()->value()));
  config.model.blocks = 1;
  test::Trainee shallow(config);
  EXPECT_THAT(message_of([&] { load_weights(folder, shallow.net(), Weights::model); }),
              HasSubstr("unexpected: net.blocks.1."));
}

TEST(Checkpoint, another_model_or_seed_is_refused_by_name_and_the_checkpoint_stays) {
  const RunFolder run;
  Config config = run.config(8, 2);
  test::Trainee(config).save(1);
  config.model.blocks = 3;
  EXPECT_THAT(message_of([&] { test::Trainee(config).resume(); }), HasSubstr("missing: net.blocks.2."));
  config.model.blocks = 0;
  config.train.seed = 8;
  EXPECT_THAT(message_of([&] { test::Trainee(config).resume(); }), HasSubstr("train.seed 7, this run has 8"));
  config.train.seed = 7;
  config.optim.ema = Ema::none;
  EXPECT_THAT(message_of([&] { test::Trainee(config).resume(); }), HasSubstr("unexpected: net_ema."));
  EXPECT_TRUE(fs::exists(run.checkpoint(1)));
}

TEST(Checkpoint, a_save_that_fails_says_why_and_the_one_before_stays) {
  const RunFolder run;
  const Config config = run.config(8, 2);
  test::Trainee trainee(config);
  trainee.save(1);
  std::vector<SaveReport> reports;
  CheckpointSaver saver(config, trainee.state(), "", [&](const SaveReport& r) { reports.push_back(r); });
  fs::rename(run.folder / "checkpoints", run.folder / "elsewhere");
  test::write_file(run.folder / "checkpoints", "in the way");
  saver.save(2, true);
  EXPECT_FALSE(saver.finish());
  fs::remove(run.folder / "checkpoints");
  fs::rename(run.folder / "elsewhere", run.folder / "checkpoints");
  ASSERT_EQ(reports.size(), 1u);
  EXPECT_EQ(reports[0].outcome, SaveReport::Outcome::failed);
  EXPECT_THAT(reports[0].reason, HasSubstr("rank 0: "));
  EXPECT_EQ(trainee.resume(), 1);
  saver.save(3, true);
  EXPECT_TRUE(saver.finish());
  EXPECT_EQ(trainee.resume(), 3);
}

TEST(Checkpoint, a_save_that_is_due_while_one_is_under_way_waits_or_is_skipped) {
  const RunFolder run;
  for (const WhenBusy policy : {WhenBusy::wait, WhenBusy::skip}) {
    Config config = run.config(8, 2);
    config.ckpt.when_busy = policy;
    test::Trainee trainee(config);
    std::vector<std::pair<int64_t, SaveReport::Outcome>> outcomes;
    CheckpointSaver saver(config, trainee.state(), "",
                          [&](const SaveReport& r) { outcomes.emplace_back(r.step, r.outcome); });
    using enum SaveReport::Outcome;
    using Outcomes = decltype(outcomes);
    saver.save(1, false);
    saver.save(2, false);  // nobody polled in between: the first is under way
    saver.save(3, true);
    EXPECT_TRUE(saver.finish());
    EXPECT_EQ(outcomes, policy == WhenBusy::wait ? (Outcomes{{1, saved}, {2, saved}, {3, saved}})
                                                 : (Outcomes{{2, skipped}, {1, saved}, {3, saved}}));
    fs::remove_all(run.folder / "checkpoints");
  }
}

TEST(Checkpoint, a_save_keeps_the_pace_that_it_is_given) {
  const RunFolder run;
  Config config = run.config(8, 2);
  config.ckpt.max_mib_s = 10;
  test::Trainee trainee(config);
  SaveReport report;
  CheckpointSaver saver(config, trainee.state(), "", [&](const SaveReport& r) { report = r; });
  saver.save(1, true);
  EXPECT_TRUE(saver.finish());
  ASSERT_GT(report.bytes, 2 << 20);
  EXPECT_GE(report.write_ms, 1e3 * static_cast<double>(report.bytes - (1 << 18)) / (10 << 20));
}

TEST(Checkpoint, a_save_that_is_given_up_leaves_no_checkpoint) {
  const RunFolder run;
  Config config = run.config(8, 2);
  config.ckpt.max_mib_s = 0.001;  // it would take an hour
  test::Trainee trainee(config);
  {
    CheckpointSaver saver(config, trainee.state(), "", [](const SaveReport&) { ADD_FAILURE(); });
    saver.save(1, true);
    saver.poll();
  }
  EXPECT_EQ(trainee.resume(), 0);
}

}  // namespace
}  // namespace orrery
