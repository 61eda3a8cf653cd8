#include "ckpt/key_rules.h"

#include <set>

#include "base/error.h"
#include "base/printable.h"

namespace orrery {
namespace {

constexpr std::string_view kNet = "net.", kEma = "net_ema.", kModule = "module.", kExtra = "_extra_state";

std::string normal_name(std::string_view name) {
  const auto strip = [&](std::string_view prefix) {
    const bool has = name.starts_with(prefix);
    if (has) name.remove_prefix(prefix.size());
    return has;
  };
  strip(kModule);
  const std::string_view prefix = strip(kNet) ? kNet : strip(kEma) ? kEma : "";
  if (!prefix.empty()) strip(kModule);
  return std::string(prefix) + std::string(name);
}

bool is_extra_state(std::string_view name) {
  return name == kExtra || (name.ends_with(kExtra) && name[name.size() - kExtra.size() - 1] == '.');
}

// * stands for any characters, ? for one. Goes back to the last * only, so that time is at most the product
// of the lengths.
bool fits(std::string_view pattern, std::string_view text) {
  size_t p = 0, t = 0, star = pattern.npos, resume = 0;
  while (t < text.size()) {
    if (p < pattern.size() && pattern[p] == '*') {
      star = p++;
      resume = t;
    } else if (p < pattern.size() && (pattern[p] == '?' || pattern[p] == text[t])) {
      ++p, ++t;
    } else if (star != pattern.npos) {
      p = star + 1;
      t = ++resume;
    } else {
      return false;
    }
  }
  return pattern.find_first_not_of('*', p) == pattern.npos;
}

class Matcher {
 public:
  Matcher(const WeightFile& file, const LoadRequest& request)
      : file_(file),
        request_(request),
        averages_(request.weights == Weights::ema),
        used_patterns_(request.partial.size()) {
    sort_sources();
    for (const ShardView& parameter : request.parameters)
      match(parameter, false, averages_ ? std::vector{kEma} : std::vector{kNet, std::string_view()});
    for (const ShardView& buffer : request.buffers)
      match(buffer, true,
            averages_ ? std::vector{kEma, kNet, std::string_view()} : std::vector{kNet, std::string_view()});
    find_unexpected();
  }

  void check() const {
    std::string text;
    for (const auto& [kind, names] : problems_) text += listed(kind, names, 20);
    const bool no_averages =
        averages_ && !std::any_of(sources_.begin(), sources_.end(),
                                  [](const auto& source) { return source.first.starts_with(kEma); });
    require(text.empty(), file_.path().string(), ": does not fit the model (",
            no_averages ? "it holds no net_ema.*; averages saved as net.* load as the weights \"model\""
                        : "another preset or tokenizer?",
            "):", text);
    for (size_t i = 0; i < used_patterns_.size(); ++i)
      require(used_patterns_[i], file_.path().string(), ": the pattern ", printable(request_.partial[i]),
              " leaves nothing out: no such tensor is missing, unexpected or of another shape or kind");
  }

  void copy() const {
    for (const auto& [target, source] : matches_) {
      at::Tensor local = target->local;
      const int64_t rows = target->shape.empty() ? 1 : local.size(0);
      if (rows == 0) continue;
      local.copy_(file_.rows(source, {target->begin, target->begin + rows}));
      file_.release_pages();
    }
  }

  std::map<std::string, std::string> sources() const {
    std::map<std::string, std::string> sources;
    for (const auto& [target, source] : matches_) sources.emplace(target->name, source);
    return sources;
  }

  std::string report() const {
    std::string text = text_of(file_.path().string(), ": loaded ", matches_.size(), " tensors");
    for (const auto& [rule, count] : passed_over_)
      text += text_of(", passed over ", count, " by the rule ", rule);
    if (!left_out_.empty()) text += "; left out, as asked:";
    for (const auto& [kind, names] : left_out_) text += listed(kind, names, names.size());
    return text;
  }

 private:
  using Names = std::map<std::string, std::vector<std::string>>;  // by kind

  // "missing: NAME" lines, the first `shown` of them.
  static std::string listed(const std::string& kind, const std::vector<std::string>& names, size_t shown) {
    std::string text;
    for (size_t i = 0; i < std::min(names.size(), shown); ++i) text += "\n  " + kind + ": " + names[i];
    if (names.size() > shown)
      text += text_of("\n  ", kind, ": and ", names.size() - shown, " more, ", names.size(), " in all");
    return text;
  }

  void sort_sources() {
    for (const auto& [name, entry] : file_.entries()) {
      if (is_extra_state(name)) {
        ++passed_over_[std::string(kExtra)];
        continue;
      }
      const auto [known, is_new] = sources_.emplace(normal_name(name), name);
      require(is_new, file_.path().string(), ": ", printable(known->second), " and ", printable(name),
              " are the same tensor by the rule module");
    }
  }

  // Why numbers of this dtype must not be converted into the model's, or empty. Whole numbers for a parameter
  // are quantised ones, which mean nothing without their scales.
  static std::string_view misfit(const WeightEntry& entry, bool is_buffer) {
    if (!entry.dtype) return "cannot be computed with";
    if (is_buffer) return at::isComplexType(*entry.dtype) ? "a buffer wants real numbers" : "";
    return at::isFloatingType(*entry.dtype) ? "" : "a parameter wants floating-point numbers";
  }

  void match(const ShardView& target, bool is_buffer, const std::vector<std::string_view>& prefixes) {
    for (const std::string_view prefix : prefixes) {
      const std::string key = std::string(prefix) + target.name;
      const auto found = sources_.find(key);
      if (found == sources_.end()) continue;
      used_.insert(key);
      const WeightEntry& entry = file_.entry(found->second);
      const std::string_view why = misfit(entry, is_buffer);
      if (entry.shape != target.shape)
        note("wrong shape", key,
             text_of(" ", at::IntArrayRef(entry.shape), ", the model has ", at::IntArrayRef(target.shape)));
      else if (!why.empty())
        note("wrong dtype", key, text_of(" ", entry.dtype ? c10::toString(*entry.dtype) : "?", ", ", why));
      else
        matches_.emplace_back(&target, found->second);
      return;
    }
    note("missing", std::string(prefixes.front()) + target.name, "");
  }

  void find_unexpected() {
    const std::string_view other = averages_ ? kNet : kEma;
    for (const auto& [key, name] : sources_) {
      if (used_.count(key)) continue;
      if (key.starts_with(other))
        ++passed_over_[std::string(other.substr(0, other.size() - 1))];
      else
        note("unexpected", key, "");
    }
  }

  // A deviation: left out where a pattern says so, else a problem.
  void note(const std::string& kind, const std::string& key, const std::string& more) {
    const std::string_view whole = key;
    const std::string_view bare = whole.starts_with(kNet)   ? whole.substr(kNet.size())
                                  : whole.starts_with(kEma) ? whole.substr(kEma.size())
                                                            : whole;
    bool excused = false;
    for (size_t i = 0; i < request_.partial.size(); ++i)
      if (fits(request_.partial[i], whole) || fits(request_.partial[i], bare))
        used_patterns_[i] = excused = true;
    const std::string shown = printable(whole);
    (excused ? left_out_ : problems_)[kind].push_back(shown.substr(1, shown.size() - 2) + more);
  }

  const WeightFile& file_;
  const LoadRequest& request_;
  const bool averages_;
  std::map<std::string, std::string> sources_;  // normal name -> the file's
  std::set<std::string> used_;
  std::vector<std::pair<const ShardView*, std::string>> matches_;
  std::map<std::string, int64_t> passed_over_;  // by rule
  Names problems_, left_out_;
  std::vector<bool> used_patterns_;
};

}  // namespace

std::string load_shards(const WeightFile& file, const LoadRequest& request) {
  const Matcher matcher(file, request);
  matcher.check();
  matcher.copy();
  return matcher.report();
}

WeightMatch match_weights(const WeightFile& file, const LoadRequest& request) {
  const Matcher matcher(file, request);
  matcher.check();
  return {matcher.sources(), matcher.report()};
}

}  // namespace orrery
