#pragma once
// SavePolicy: which outputs of a recompute unit are kept after forward, by label pattern.
#include <string>
#include <string_view>
#include <vector>

namespace orrery {

class SavePolicy {
 public:
  // Patterns are matched against whole labels such as "blocks.7.self_attn.attention"; * stands for any run of
  // letters, dots included. A label that matches one is kept, the rest is recomputed. No pattern: all is
  // recomputed.
  explicit SavePolicy(std::vector<std::string> keep) : keep_(std::move(keep)) {}
  bool keeps(std::string_view label) const;

 private:
  std::vector<std::string> keep_;
};

bool matches_pattern(std::string_view text, std::string_view pattern);

}  // namespace orrery
