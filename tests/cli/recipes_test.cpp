// The recipes of launch/recipes are settings of this program.
#include "cli/recipes.h"

#include <gtest/gtest.h>

#include <fstream>
#include <set>

#include "cli/check.h"
#include "fixtures.h"

namespace orrery::cli {

TEST(Recipes, are_accepted_as_they_stand) {
  for (const Recipe& recipe : recipes()) {
    SCOPED_TRACE(recipe.files.front());
    Config config = read_recipe(recipe);
    EXPECT_EQ(config.numerics.device, Device::cuda);
    config.numerics.device = Device::cpu;  // this machine need not have a GPU
    EXPECT_NO_THROW(check_config(config));
  }
}

TEST(Recipes, hold_only_what_differs_from_the_defaults) {
  for (const auto& file : test::files_in(recipe_folder(), "", ".ini")) {
    SCOPED_TRACE(file.string());
    Config config, untouched;
    const Settings table = settings_of(config), defaults = settings_of(untouched);
    read_ini(file, table);
    std::ifstream in(file);
    std::string section;
    for (std::string line; std::getline(in, line);) {
      if (line.starts_with('[')) section = line.substr(1, line.find(']') - 1);
      const size_t equals = line.find(" = ");
      if (line.starts_with('#') || equals == line.npos) continue;
      const std::string key = section + "." + line.substr(0, equals);
      ASSERT_NE(table.find(key), nullptr) << key;
      EXPECT_NE(table.find(key)->show(), defaults.find(key)->show()) << key;
    }
  }
}

TEST(Recipes, are_all_tested_and_name_their_source) {
  std::set<std::string> listed;
  for (const Recipe& recipe : recipes()) listed.insert(recipe.files.begin(), recipe.files.end());
  const auto files = test::files_in(recipe_folder(), "", ".ini");
  EXPECT_EQ(files.size(), listed.size());
  for (const auto& file : files) {
    EXPECT_TRUE(listed.count(file.stem().string())) << file;
    EXPECT_NE(test::read_file(file).find("Source: "), std::string::npos) << file;
  }
}

// Table 4 of the paper and section 4.1.
TEST(Recipes, of_pre_training_follow_the_published_stages) {
  struct Stage {
    int64_t frames, height, width;
    double shift;
    std::vector<int64_t> given;
  };
  const std::vector<Stage> stages = {{1, 192, 320, 1, {0, 1, 2}},
                                     {93, 192, 320, 1, {1, 2}},
                                     {93, 480, 832, 0, {1, 2}},
                                     {93, 704, 1280, 5, {1, 2}},
                                     {93, 704, 1280, 5, {0, 1, 2}}};
  const std::vector<Recipe> all = recipes();
  for (size_t i = 0; i < stages.size(); ++i) {
    SCOPED_TRACE(all[i].files.front());
    const Config c = read_recipe(all[i]);
    EXPECT_EQ(c.data.frames, stages[i].frames);
    EXPECT_EQ(c.data.height, stages[i].height);
    EXPECT_EQ(c.data.width, stages[i].width);
    EXPECT_EQ(c.flow.shift, stages[i].shift);
    EXPECT_EQ(c.flow.condition_frames, stages[i].given);
    EXPECT_EQ(c.train.lr, 3e-5);
    EXPECT_EQ(c.ckpt.load, i == 0 ? "" : read_recipe(all[i - 1]).train.run_dir);  // goes on from there
  }
}

}  // namespace orrery::cli
