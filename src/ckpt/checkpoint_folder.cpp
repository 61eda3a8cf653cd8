#include "ckpt/checkpoint_folder.h"

#include <algorithm>
#include <charconv>

#include "base/error.h"
#include "ckpt/atomic_file.h"
#include "ckpt/checkpoint_reader.h"
#include "ckpt/fault_point.h"
#include "ckpt/file_io.h"

namespace orrery {
namespace {

namespace fs = std::filesystem;
constexpr std::string_view kPrefix = "step_";
constexpr size_t kDigits = 9;

std::string name_of(int64_t step) {
  const std::string digits = std::to_string(step);
  return std::string(kPrefix) + std::string(kDigits - std::min(kDigits, digits.size()), '0') + digits;
}

std::optional<int64_t> step_of(const std::string& name) {
  int64_t step = 0;
  if (!name.starts_with(kPrefix)) return std::nullopt;
  const auto [end, error] = std::from_chars(name.data() + kPrefix.size(), name.data() + name.size(), step);
  if (error != std::errc{} || end != name.data() + name.size() || step < 0 || name_of(step) != name)
    return std::nullopt;
  return step;
}

bool is_complete(const fs::path& folder) {
  try {
    const Checkpoint checkpoint(folder);
    return true;
  } catch (const Error&) {
    return false;
  }
}

}  // namespace

std::vector<CheckpointFolder::Entry> CheckpointFolder::all() const {
  std::vector<Entry> found;
  if (!fs::is_directory(root_)) return found;
  for (const auto& entry : fs::directory_iterator(root_)) {
    const auto step = step_of(entry.path().filename().string());
    if (step && entry.is_directory()) found.push_back({*step, entry.path()});
  }
  std::sort(found.begin(), found.end(), [](const Entry& a, const Entry& b) { return a.step < b.step; });
  return found;
}

fs::path CheckpointFolder::newest() const {
  auto found = all();
  for (; !found.empty(); found.pop_back())
    if (is_complete(found.back().path)) return found.back().path;
  fail(root_.parent_path().string(), ": no complete checkpoint in ", root_.string());
}

fs::path CheckpointFolder::making(int64_t step, const std::string& nonce) const {
  return root_ / ("making_" + name_of(step) + "_" + nonce);
}

fs::path CheckpointFolder::path_of(int64_t step) const {
  return root_ / name_of(step);
}

std::string CheckpointFolder::publish(const fs::path& making, const Manifest& manifest) const {
  require_sound(manifest, making.string(), Coverage::whole);
  fault_point("publish.manifest");
  write_whole(making / kManifestName, manifest_text(manifest));
  const fs::path done = path_of(manifest.step);
  if (fs::exists(done)) set_aside(done, "superseded");
  fault_point("publish.rename");
  rename_file(making, done);
  try {
    fault_point("publish.fsync_folder");
    sync_folder(root_);
    fault_point("publish.latest");
    point_latest();
  } catch (const std::exception& error) {
    return error.what();
  }
  return {};
}

void CheckpointFolder::point_latest() const {
  const auto found = all();
  if (!found.empty()) return write_whole(root_ / "latest", found.back().path.filename().string() + "\n");
  std::error_code ignored;
  fs::remove(root_ / "latest", ignored);
}

void CheckpointFolder::remove(const fs::path& folder) const {
  const std::string name = folder.filename().string();
  const fs::path doomed = name.starts_with("removing_") ? folder : root_ / ("removing_" + name);
  fault_point("remove.rename");
  if (doomed != folder) {
    fs::remove_all(doomed);
    rename_file(folder, doomed);
  }
  fault_point("remove.files");
  fs::remove_all(doomed);
}

std::vector<fs::path> CheckpointFolder::surplus(int64_t keep, int64_t keep_every) const {
  std::vector<fs::path> doomed;
  if (keep == 0) return doomed;
  auto found = all();
  for (int64_t complete = 0; !found.empty() && complete < keep; found.pop_back())
    complete += is_complete(found.back().path);
  for (const Entry& entry : found)
    if (keep_every == 0 || entry.step % keep_every != 0) doomed.push_back(entry.path);
  return doomed;
}

std::vector<fs::path> CheckpointFolder::put_aside() const {
  std::vector<fs::path> found;
  if (!fs::is_directory(root_)) return found;
  for (const auto& entry : fs::directory_iterator(root_)) {
    const std::string name = entry.path().filename().string();
    if (name.starts_with("damaged_") || name.starts_with("superseded_")) found.push_back(entry.path());
  }
  std::sort(found.begin(), found.end());
  return found;
}

// Folders in the making or being removed, and temporary files of AtomicFile.
std::vector<fs::path> CheckpointFolder::leftovers() const {
  std::vector<fs::path> found;
  for (const fs::path& folder : {root_.parent_path(), root_}) {
    if (!fs::is_directory(folder)) continue;
    for (const auto& entry : fs::directory_iterator(folder)) {
      const std::string name = entry.path().filename().string();
      const bool is_folder =
          folder == root_ && (name.starts_with("making_") || name.starts_with("removing_"));
      if (is_folder || (name.starts_with(".") && name.find(".tmp-") != std::string::npos))
        found.push_back(entry.path());
    }
  }
  std::sort(found.begin(), found.end());
  return found;
}

std::vector<std::string> CheckpointFolder::tidy() const {
  std::vector<std::string> lines;
  for (const fs::path& path : leftovers()) {
    fs::remove_all(path);
    lines.push_back("removed " + path.filename().string() + ", left by an interrupted save");
  }
  if (!fs::is_directory(root_)) return lines;
  const auto found = all();
  if (found.empty()) {
    point_latest();
  } else if (!fs::is_regular_file(root_ / "latest") ||
             read_whole(root_ / "latest", 1 << 16) != found.back().path.filename().string() + "\n") {
    point_latest();
    lines.push_back("latest names " + found.back().path.filename().string() + " again");
  }
  return lines;
}

fs::path CheckpointFolder::set_aside(const fs::path& folder, const std::string& prefix) const {
  fs::path name = root_ / (prefix + "_" + folder.filename().string());
  if (prefix == "superseded") fs::remove_all(name);
  for (int i = 2; fs::exists(name); ++i)
    name = root_ / text_of(prefix, "_", folder.filename().string(), "_", i);
  rename_file(folder, name);
  point_latest();
  return name;
}

}  // namespace orrery
