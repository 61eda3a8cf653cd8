// orrery ckpt as a user runs it.
#include <ATen/ops/full.h>
#include <ATen/ops/tensor.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <nlohmann/json.hpp>

#include "ckpt/checkpoint_folder.h"
#include "ckpt/checkpoint_reader.h"
#include "ckpt/folder_lock.h"
#include "ckpt/safetensors.h"
#include "ckpt/shard_file.h"
#include "ckpt/torch_writer.h"
#include "ckpt/twin.h"
#include "ckpt/weight_file.h"
#include "cli/program.h"
#include "fixtures.h"
#include "model/presets.h"

namespace orrery::cli {
namespace {

using testing::AllOf;
using testing::HasSubstr;

using Tensors = std::map<std::string, at::Tensor>;

class CkptCommand : public testing::Test {
 protected:
  std::string path(const std::string& name) const { return (folder_ / name).string(); }
  std::string save(const std::string& name, const Tensors& tensors) const {
    save_safetensors(folder_ / name, tensors);
    return path(name);
  }
  static at::Tensor values(const std::vector<float>& numbers) { return at::tensor(numbers, at::kFloat); }
  // A value of tensor `name`, whatever the format.
  static float first_of(const std::string& file, const std::string& name) {
    return open_weights(file)->tensor(name).reshape({-1})[0].item<float>();
  }
  // All tensors of a preset, filled with a number.
  static Tensors model(const std::string& preset, double value) {
    const DiT net(dit_preset(preset));
    Tensors tensors;
    for (const Parameter* const p : net.parameters())
      tensors.emplace("net." + p->key(), at::full(p->shape(), value));
    for (const Buffer* const b : net.buffers()) tensors.emplace("net." + b->key(), b->value().clone());
    return tensors;
  }
  // A run folder with complete checkpoints, whose weight net.w is the step.
  std::string save_run(const std::string& name, const std::vector<int64_t>& steps) const {
    const CheckpointFolder checkpoints(folder_ / name);
    for (const int64_t step : steps) {
      const auto making = checkpoints.making(step, "test");
      std::filesystem::create_directories(making);
      Manifest manifest{.step = step, .mesh = {1, 1, 1}, .texts = {{"config", "[train]\n"}}};
      const at::Tensor weight = values({static_cast<float>(step), 0}), average = weight + 0.5;
      const auto piece = [](const std::string& key, const at::Tensor& t) {
        return PieceToWrite{key, at::kFloat, {2}, 0, 2, static_cast<const char*>(t.const_data_ptr())};
      };
      Manifest part = write_shard_file(
          making / "rank_00000.h5",
          {piece("net.w", weight), piece("net_ema.w", average), piece("optim.exp_avg.w", weight)},
          [](int64_t) { return true; });
      part.step = step;
      merge_manifest(manifest, part, "rank 0");
      checkpoints.publish(making, manifest);
    }
    return path(name);
  }
  const test::ScratchFolder folder_;
};

TEST_F(CkptCommand, a_run_folder_stands_for_its_newest_checkpoint_and_its_averages_are_exported) {
  const std::string run_dir = save_run("run", {10, 20}), older = run_dir + "/checkpoints/step_000000010";
  const Result list = run("ckpt ls " + run_dir);
  EXPECT_EQ(list.code, 0) << list.text;
  EXPECT_THAT(list.text,
              AllOf(HasSubstr("step_000000020"), HasSubstr("net_ema.w"), testing::Not(HasSubstr("optim."))));
  EXPECT_EQ(run("ckpt export --format=pt " + run_dir + " " + path("ema.pt")).code, 0);
  EXPECT_EQ(first_of(path("ema.pt"), "net.w"), 20.5f);
  EXPECT_EQ(run("ckpt diff " + run_dir + " " + run_dir).code, 0);
  EXPECT_EQ(run("ckpt diff " + older + " " + run_dir).code, 1);
  EXPECT_EQ(run("ckpt merge --out=" + path("soup") + " " + older + " " + run_dir).code, 0);
  EXPECT_EQ(first_of(path("soup"), "net.w"), 15.5f);
  EXPECT_EQ(run("ckpt ls " + save_run("empty", {})).code, 2);
}

TEST_F(CkptCommand, verify_of_a_run_reads_all_its_checkpoints_and_finds_a_flipped_bit_of_the_optimizer) {
  const std::string run_dir = save_run("run", {10, 20});
  const Result good = run("ckpt verify " + run_dir);
  EXPECT_EQ(good.code, 0) << good.text;
  EXPECT_THAT(good.text,
              AllOf(HasSubstr("step_000000010: 2 tensors read, good"), HasSubstr("step_000000020")));
  const auto file = folder_ / "run/checkpoints/step_000000010/rank_00000.h5";
  std::string bytes = test::read_file(file);
  bytes[Checkpoint(file.parent_path()).entries().at("optim.exp_avg.w").pieces[0].offset] ^= 1;
  test::write_file(file, bytes);
  const Result damaged = run("ckpt verify " + run_dir);
  EXPECT_EQ(damaged.code, 3) << damaged.text;
  EXPECT_THAT(damaged.text, AllOf(HasSubstr("step_000000010: DAMAGED"), HasSubstr("optim.exp_avg.w"),
                                  HasSubstr("step_000000020: 2 tensors read, good")));

  std::filesystem::remove(folder_ / "run/checkpoints/step_000000020/manifest.json");
  const Result missing = run("ckpt verify " + run_dir);
  EXPECT_EQ(missing.code, 3) << missing.text;
  EXPECT_THAT(missing.text,
              AllOf(HasSubstr("step_000000010: DAMAGED"), HasSubstr("step_000000020: DAMAGED")));
  EXPECT_EQ(run("ckpt ls " + run_dir + "/checkpoints/step_000000020").code, 2);
  EXPECT_EQ(
      run("ckpt export " + (folder_ / "run/checkpoints/step_000000010").string() + " " + path("x")).code, 0);
  test::write_file(folder_ / "run/checkpoints/step_000000010/manifest.json", "{}");
  EXPECT_EQ(run("ckpt ls " + (folder_ / "run/checkpoints/step_000000010").string()).code, 2);
}

TEST_F(CkptCommand, prune_keeps_the_newest_and_every_mth_and_is_refused_while_a_job_runs) {
  const std::string run_dir = save_run("run", {10, 20, 30, 40, 50});
  std::filesystem::create_directories(folder_ / "run/checkpoints/damaged_step_000000005");
  const auto steps = [&] {
    std::vector<int64_t> found;
    for (const auto& entry : CheckpointFolder(run_dir).all()) found.push_back(entry.step);
    return found;
  };
  const std::string prune = "ckpt prune --keep=2 --keep_every=20 " + run_dir;
  EXPECT_EQ(run(prune + " --dry_run").code, 0);
  EXPECT_THAT(steps(), testing::ElementsAre(10, 20, 30, 40, 50));
  {
    const FolderLock job(run_dir);
    const Result refused = run(prune);
    EXPECT_EQ(refused.code, 2) << refused.text;
    EXPECT_THAT(steps(), testing::SizeIs(5));
  }
  const Result pruned = run(prune);
  EXPECT_EQ(pruned.code, 0) << pruned.text;
  EXPECT_THAT(steps(), testing::ElementsAre(20, 40, 50));
  EXPECT_TRUE(std::filesystem::exists(folder_ / "run/checkpoints/damaged_step_000000005"));
  EXPECT_EQ(run(prune + " --put_aside").code, 0);
  EXPECT_FALSE(std::filesystem::exists(folder_ / "run/checkpoints/damaged_step_000000005"));
  EXPECT_EQ(run("ckpt prune --keep=0 " + run_dir).code, 2);

  std::filesystem::create_directories(folder_ / "run/checkpoints/step_000000060");
  std::filesystem::create_directories(folder_ / "run/checkpoints/making_step_000000070_x");
  const Result dry = run("ckpt prune --keep=1 --dry_run " + run_dir);
  EXPECT_THAT(dry.text, AllOf(HasSubstr("would remove step_000000040"),
                              HasSubstr("would remove making_step_000000070_x"),
                              testing::Not(HasSubstr("step_000000050"))));
  EXPECT_EQ(run("ckpt prune --keep=1 " + run_dir).code, 0);
  EXPECT_THAT(steps(), testing::ElementsAre(50, 60)) << "the newest that is whole stays";
  EXPECT_EQ(run("ckpt prune " + path("nowhere")).code, 2);
}

TEST_F(CkptCommand, ls_shows_tensors_and_totals) {
  const std::string file =
      save("a.safetensors", {{"net.x", values({1, 2, 3})}, {"net.y.z", at::full({2, 2}, 1, at::kLong)}});
  const Result list = run("ckpt ls " + file);
  EXPECT_EQ(list.code, 0);
  EXPECT_THAT(list.text, AllOf(HasSubstr("net.x  F32  [3]  12"), HasSubstr("net.y.z  I64  [2, 2]  32"),
                               HasSubstr("all: 2 tensors, 7 elements, 44 bytes")));
  const auto json = nlohmann::json::parse(run("ckpt ls --json " + file).text, nullptr, false);
  ASSERT_TRUE(json.is_object());
  EXPECT_EQ(json["tensors"]["net.x"]["bytes"], 12);
  EXPECT_EQ(json["totals"][""]["elements"], 7);
}

TEST_F(CkptCommand, a_broken_or_missing_file_ends_every_part_with_2_and_one_line_that_names_it) {
  test::write_file(folder_ / "broken.safetensors", std::string("\xff\xff\xff\xff\xff\xff\xff\x7f{}", 10));
  test::write_file(folder_ / "text.pt", "not weights");
  const std::string good = save("good.safetensors", {{"w", values({1})}}), out = path("out");
  const std::string bad = path("broken.safetensors");
  for (const std::string& command :
       {"ls " + path("text.pt"), "ls " + path("absent.pt"), "ls " + path(""), "ls " + bad, "verify " + bad,
        "export " + bad + " " + out, "import " + bad + " " + out, "diff " + good + " " + bad,
        "merge " + good + " " + bad + " --out=" + out}) {
    const Result result = run("ckpt " + command);
    EXPECT_EQ(result.code, 2) << command << result.text;
    EXPECT_THAT(result.text, testing::StartsWith("orrery: ")) << command;
    EXPECT_EQ(std::count(result.text.begin(), result.text.end(), '\n'), 1) << command << result.text;
  }
  EXPECT_FALSE(std::filesystem::exists(out));
}

TEST_F(CkptCommand, averages_are_exported_as_the_references_converter_names_them) {
  const std::string file = save(
      "run.safetensors", {{"net.w", values({1, 2}).to(at::kBFloat16)}, {"net_ema.w", values({1.001f, 2})}});
  for (const std::string arguments :
       {" --format=pt --dtype=float32", " --format=pt --dtype=bfloat16", " --format=pt --weights=model"})
    EXPECT_EQ(run("ckpt export " + file + " " + folder_.path().string() + arguments).code, 0) << arguments;
  EXPECT_EQ(first_of(path("model_ema_fp32.pt"), "net.w"), 1.001f);
  EXPECT_EQ(open_weights(path("model_ema_bf16.pt"))->tensor("net.w").scalar_type(), at::kBFloat16);
  EXPECT_EQ(first_of(path("model.pt"), "net.w"), 1);
  EXPECT_EQ(run("ckpt export --weights=ema " + path("model.pt") + " " + path("x")).code, 2);
}

TEST_F(CkptCommand, import_wants_every_tensor_of_the_preset_once) {
  Tensors tensors = model("nano", 0.5);
  const std::string good = save("good.safetensors", tensors), out = path("out.safetensors");
  const Result fits = run("ckpt import --preset=nano " + good + " " + out);
  EXPECT_EQ(fits.code, 0) << fits.text;
  EXPECT_EQ(run("ckpt diff " + good + " " + out).code, 0);
  EXPECT_EQ(run("ckpt import --preset=tiny " + good + " " + out).code, 2);

  tensors.emplace("net.stranger", values({1}));
  tensors.erase("net.x_embedder.proj.1.weight");
  const std::string bad = save("bad.safetensors", tensors);
  const Result strict = run("ckpt import --preset=nano " + bad + " " + path("no"));
  EXPECT_EQ(strict.code, 2);
  EXPECT_THAT(strict.text, AllOf(HasSubstr("missing: net.x_embedder.proj.1.weight"),
                                 HasSubstr("unexpected: net.stranger")));
  const Result partial =
      run("ckpt import --preset=nano '--partial=net.stranger, x_embedder*' " + bad + " " + path("yes"));
  EXPECT_EQ(partial.code, 0) << partial.text;
  EXPECT_THAT(partial.text, AllOf(HasSubstr("left out, as asked"), HasSubstr("unexpected: net.stranger")));
}

TEST_F(CkptCommand, diff_ends_with_1_and_shows_the_worst_tensor) {
  const std::string a = save("a", {{"w", values({3, 4})}, {"v", values({1})}});
  const std::string b = save("b", {{"w", values({3, 9})}, {"v", values({1})}});
  EXPECT_EQ(run("ckpt diff " + a + " " + a).code, 0);
  const Result differs = run("ckpt diff " + a + " " + b);
  EXPECT_EQ(differs.code, 1);
  EXPECT_THAT(differs.text, AllOf(HasSubstr("differs: w  relative L2 1, largest 5, 1 of 2 elements"),
                                  HasSubstr("1 tensors are equal bit for bit, 1 differ")));
}

TEST_F(CkptCommand, verify_ends_with_3_for_values_that_are_not_finite) {
  EXPECT_EQ(run("ckpt verify " + save("good", {{"w", values({1})}})).code, 0);
  const Result bad = run("ckpt verify " + save("bad", {{"w", values({1, NAN, INFINITY})}}));
  EXPECT_EQ(bad.code, 3);
  EXPECT_THAT(bad.text, HasSubstr("w: 2 of 3 values"));
}

TEST_F(CkptCommand, verify_finds_a_changed_byte_of_a_zip_and_counts_what_it_cannot_read) {
  const std::string pt = path("w.pt");
  save_torch(pt, {{"w", values({1, 2, 3})}});
  EXPECT_EQ(run("ckpt verify " + pt).code, 0);
  std::string bytes = test::read_file(pt);
  test::damage_storage(bytes);
  test::write_file(pt, bytes);
  const Result damaged = run("ckpt verify " + pt);
  EXPECT_EQ(damaged.code, 3) << damaged.text;
  EXPECT_THAT(damaged.text,
              AllOf(HasSubstr("DAMAGED"), HasSubstr("'archive/data/0' do not have their CRC-32")));

  std::string header = R"({"four":{"dtype":"F4","shape":[4],"data_offsets":[0,2]}})";
  header.resize((header.size() + 7) / 8 * 8, ' ');
  const uint64_t size = header.size();
  test::write_file(path("f4"), std::string(reinterpret_cast<const char*>(&size), 8) + header + "ab");
  const Result unread = run("ckpt verify " + path("f4"));
  EXPECT_EQ(unread.code, 0) << unread.text;
  EXPECT_THAT(unread.text, HasSubstr("0 tensors read, 1 tensors of a dtype that cannot be read, good"));
}

TEST_F(CkptCommand, merge_writes_one_model_or_a_grid_with_its_table) {
  const std::string base = save("base", {{"w", values({0, 0})}}), a = save("a", {{"w", values({1, 2})}}),
                    b = save("b", {{"w", values({3, 6})}});
  const Result soup = run("ckpt merge --model_weights=1,3 --out=" + path("soup") + " " + a + " " + b);
  EXPECT_EQ(soup.code, 0) << soup.text;
  EXPECT_EQ(first_of(path("soup"), "w"), 2.5f);
  EXPECT_EQ(Safetensors(path("soup")).metadata().count("orrery.merge"), 1u);

  const std::string models = " --base=" + base + " " + a + " " + b;
  EXPECT_EQ(run("ckpt merge --method=dare_ties --grid --out=" + path("grid") + models).code, 0);
  const auto table = nlohmann::json::parse(test::read_file(folder_ / "grid/grid.json"), nullptr, false);
  ASSERT_EQ(table["points"].size(), 12u);
  for (const auto& point : table["points"])
    EXPECT_TRUE(std::filesystem::exists(folder_ / "grid" / point["file"].get<std::string>())) << point;

  EXPECT_EQ(run("ckpt merge --method=ties --grid --most=5 --out=" + path("x") + models).code, 2);
  EXPECT_EQ(run("ckpt merge --method=ties --out=" + path("x") + models).code, 2);  // no density
  EXPECT_EQ(run("ckpt merge --density=0.5 --out=" + path("x") + models).code, 2);  // of a soup
  EXPECT_EQ(run("ckpt merge --dry_run --out=" + path("x") + models).code, 0);
  EXPECT_FALSE(std::filesystem::exists(path("x")));
}

}  // namespace
}  // namespace orrery::cli
