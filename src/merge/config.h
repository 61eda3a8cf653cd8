#pragma once
// What a merge of models does: the methods and their numbers. b is the base, m_k are the models,
// d_k = m_k - b, and w_k the weights.
//
//   soup             sum w_k m_k                                    (Wortsman et al. 2022, arXiv 2203.05482)
//   task_arithmetic  b + lambda sum w_k d_k                         (Ilharco et al. 2023, arXiv 2212.04089)
//   ties             keeps the largest |d_k|, elects a sign for every element, and adds up only what has it
//                                                                   (Yadav et al. 2023, arXiv 2306.01708)
//   dare_linear      drops elements of d_k at random and divides the rest by the density
//                                                                   (Yu et al. 2024, arXiv 2311.03099)
//   dare_ties        the same, then the election of ties
//
// Where the papers leave a choice, the default is that of mergekit (github.com/arcee-ai/mergekit).
#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace orrery {

enum class MergeMethod { soup, task_arithmetic, ties, dare_linear, dare_ties };
enum class Consensus { sum, count };  // of the signs: the weighted deltas' sum, or each delta one vote
enum class Trim { tensor, global };   // the largest of each tensor (mergekit), or of all (the paper)
enum class Normalize { by_method, yes, no };  // divide by the sum of the weights that took part
std::span<const std::string_view> names_of(MergeMethod);
std::span<const std::string_view> names_of(Consensus);
std::span<const std::string_view> names_of(Trim);
std::span<const std::string_view> names_of(Normalize);

struct MergeConfig {
  MergeMethod method = MergeMethod::soup;
  std::vector<double> weights = {};            // w_k; empty: 1 each
  double base_weight = 0;                      // soup: of the base as one more ingredient
  std::vector<double> density = {};            // ties, dare: kept share of d_k, one for all or one a model
  double lambda = 1;                           // all but soup
  Normalize normalize = Normalize::by_method;  // by_method: yes for soup and ties, else no
  Consensus consensus = Consensus::sum;        // ties, dare_ties
  Trim trim = Trim::tensor;                    // ties
  bool rescale = true;                         // dare: divide what is kept by the density
  int64_t seed = 0;                            // dare: names the random stream
};

bool has_base(const MergeConfig& config);  // whether the method needs one

// The same with a weight and, where the method has one, a density for each of so many models, and normalize
// decided. Throws Error for wrong numbers of them or values, and for a setting that the method does not have.
MergeConfig completed(MergeConfig config, size_t models);

std::string json_of(const MergeConfig& config);  // what the method has of it, on one line

}  // namespace orrery
