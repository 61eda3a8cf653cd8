// Model soups of trained networks, as a user makes them: two runs that go on from one parent average well,
// two that begin apart do not. Source: Wortsman et al. 2022 (arXiv 2203.05482), figure 2.
#include <gtest/gtest.h>

#include <iostream>

#include "cli/program.h"
#include "fixtures.h"
#include "train/trainee.h"

namespace orrery::cli {
namespace {

constexpr int64_t kParentSteps = 40, kChildSteps = 20;

class Soup : public testing::Test {
 protected:
  Config config(const std::string& name, int64_t seed) const {
    Config c = test::small_config(1000, 4);
    c.train.run_dir = (folder_ / name).string();
    c.train.seed = seed;
    c.train.lr = 3e-3;
    return c;
  }
  std::string run_dir(const std::string& name) const { return (folder_ / name).string(); }
  // Trains from the parent's weights, or from an initialisation of its own, and saves.
  void train(const std::string& name, int64_t seed, int64_t steps, const std::string& parent = {}) const {
    test::Trainee trainee(config(name, seed));
    if (!parent.empty()) load(trainee, parent);
    trainee.train(0, steps);
    trainee.save(steps);
  }
  static void load(test::Trainee& trainee, const std::string& weights) {
    load_weights(weights, trainee.net(), trainee.model.fsdp().weights(), Weights::model);
    trainee.model.fsdp().release();
  }
  // Mean loss over batches that are the same for all networks, and that no training drew.
  double loss(const std::string& weights) const {
    Config c = config("judge", 99);
    c.train.lr = 0;
    test::Trainee judge(c);
    load(judge, weights);
    double sum = 0;
    for (int64_t i = 500; i < 512; ++i) sum += judge.step(test::scene_batch(i, 0, 4), i).loss;
    return sum / 12;
  }
  double soup_loss(const std::string& a, const std::string& b, const std::string& shares) const {
    const std::string out = run_dir("soup.safetensors");
    const Result merged = run("ckpt merge --weights=model --model_weights=" + shares + " --out=" + out + " " +
                              run_dir(a) + " " + run_dir(b));
    EXPECT_EQ(merged.code, 0) << merged.text;
    const double result = loss(out);
    std::filesystem::remove(out);
    return result;
  }
  const test::ScratchFolder folder_;
};

TEST_F(Soup, of_two_children_of_one_parent_is_no_worse_than_the_worse_and_of_strangers_it_fails) {
  train("parent", 1, kParentSteps);
  train("child_a", 2, kChildSteps, run_dir("parent"));
  train("child_b", 3, kChildSteps, run_dir("parent"));
  train("stranger", 4, kParentSteps + kChildSteps);
  const double a = loss(run_dir("child_a")), b = loss(run_dir("child_b"));
  std::cout << "child a " << a << ", child b " << b << "; between them";
  for (const std::string shares : {"3,1", "1,1", "1,3"}) {
    const double between = soup_loss("child_a", "child_b", shares);
    std::cout << " " << between;
    EXPECT_LE(between, std::max(a, b)) << shares;
  }
  const double stranger = loss(run_dir("stranger")), failed = soup_loss("child_a", "stranger", "1,1");
  std::cout << "\nstranger " << stranger << ", with child a " << failed << "\n";
  EXPECT_GT(failed, 1.1 * std::max(a, stranger));
}

}  // namespace
}  // namespace orrery::cli
