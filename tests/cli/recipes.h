#pragma once
// The recipes of launch/recipes, each with ranks that it is meant for.
#include <filesystem>
#include <string>
#include <vector>

#include "cli/options.h"

namespace orrery::cli {

struct Recipe {
  std::vector<std::string> files;  // in the order in which they are named
  int64_t ranks;
  std::string ceilings;
};

inline std::vector<Recipe> recipes() {
  return {{{"pretrain_1_256p_images"}, 64, "h100"},
          {{"pretrain_2_256p"}, 256, "h100"},
          {{"pretrain_3_480p"}, 256, "h100"},
          {{"pretrain_4_720p"}, 512, "h100"},
          {{"pretrain_5_720p_text"}, 512, "h100"},
          {{"pretrain_5_720p_text", "14b"}, 2048, "h100"},
          {{"sft"}, 512, "h100"},
          {{"sft", "14b"}, 2048, "h200"},
          {{"cooldown"}, 512, "h100"},
          {{"gr1_480p"}, 8, "h100"}};
}

inline std::filesystem::path recipe_folder() {
  return std::filesystem::path(ORRERY_SOURCE_DIR) / "launch/recipes";
}

inline Config read_recipe(const Recipe& recipe) {
  Config config;
  for (const std::string& name : recipe.files)
    read_ini(recipe_folder() / (name + ".ini"), settings_of(config));
  return config;
}

}  // namespace orrery::cli
