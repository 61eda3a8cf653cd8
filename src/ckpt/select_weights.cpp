#include "ckpt/select_weights.h"

#include <array>

#include "base/error.h"

namespace orrery {
namespace {

constexpr std::string_view kNet = "net.", kEma = "net_ema.";

using Sources = std::map<std::string, std::string>;  // new name -> name in the file

bool has_prefix(const WeightFile& file, std::string_view prefix) {
  return std::any_of(file.entries().begin(), file.entries().end(),
                     [&](const auto& item) { return item.first.starts_with(prefix); });
}

Sources all_names(const WeightFile& file) {
  Sources sources;
  for (const auto& [name, entry] : file.entries()) sources.emplace(name, name);
  return sources;
}

Sources with_prefix(const WeightFile& file, std::string_view prefix) {
  Sources sources;
  for (const auto& [name, entry] : file.entries())
    if (name.starts_with(prefix)) sources.emplace(std::string(kNet) + name.substr(prefix.size()), name);
  return sources;
}

Sources sources_of(const WeightFile& file, WeightChoice choice) {
  const bool has_averages = has_prefix(file, kEma);
  if (choice == WeightChoice::automatic) choice = has_averages ? WeightChoice::ema : WeightChoice::model;
  require(choice != WeightChoice::ema || has_averages, file.path().string(),
          ": holds no averages (net_ema.*); averages saved as net.* are the weights \"model\"");
  if (choice == WeightChoice::all) return all_names(file);
  if (!has_averages && !has_prefix(file, kNet)) return all_names(file);
  Sources sources;
  if (choice == WeightChoice::ema) sources = with_prefix(file, kEma);
  sources.merge(with_prefix(file, kNet));  // keeps what is there
  return sources;
}

class Selected final : public WeightFile {
 public:
  Selected(std::unique_ptr<WeightFile> file, WeightChoice choice)
      : WeightFile(file->path()), file_(std::move(file)), sources_(sources_of(*file_, choice)) {
    for (const auto& [name, source] : sources_) entries_.emplace(name, file_->entry(source));
  }
  WeightLeaves leaves() const override { return file_->leaves(); }
  std::vector<std::string> damage() const override { return file_->damage(); }
  void release_pages() const override { file_->release_pages(); }

 protected:
  at::Tensor read(const std::string& name, RowRange rows) const override {
    return file_->rows(sources_.at(name), rows);
  }

 private:
  std::unique_ptr<WeightFile> file_;
  Sources sources_;
};

}  // namespace

std::span<const std::string_view> names_of(WeightChoice) {
  static constexpr std::array<std::string_view, 4> names{"auto", "ema", "model", "all"};
  return names;
}

std::unique_ptr<WeightFile> select_weights(std::unique_ptr<WeightFile> file, WeightChoice choice) {
  return std::make_unique<Selected>(std::move(file), choice);
}

}  // namespace orrery
