#pragma once
// The folder run_dir/checkpoints: how a checkpoint comes into being there, is found, set aside and removed.
// One rank at a time calls it; the saver, the trainer's start and `orrery ckpt` do.
//
//   step_000000020/             complete: manifest.json, rank_00000.h5, ..., tokenizer.safetensors
//   making_step_..._NONCE/      a save under way, or what an interrupted one left
//   removing_step_.../          being removed
//   damaged_step_.../           was found damaged; kept for whoever wants to look at it
//   superseded_step_.../        later than a checkpoint that a run went back to
//   latest                      the name of the newest, for people and scripts
//
// A checkpoint is published by the rename of its folder; `latest` moves after that.
#include <filesystem>
#include <optional>
#include <string>
#include <vector>

#include "ckpt/manifest.h"

namespace orrery {

class CheckpointFolder {
 public:
  explicit CheckpointFolder(const std::filesystem::path& run_dir) : root_(run_dir / "checkpoints") {}

  struct Entry {
    int64_t step;
    std::filesystem::path path;
  };
  // Folders named step_..., oldest first, whatever state they are in.
  std::vector<Entry> all() const;

  // The newest complete one: manifest and files are there, with their sizes. Throws Error if there is none.
  std::filesystem::path newest() const;

  // nonce: letters and digits that tell this run from an earlier one whose ranks may still be dying.
  std::filesystem::path making(int64_t step, const std::string& nonce) const;
  std::filesystem::path path_of(int64_t step) const;

  // Writes the manifest of a folder in the making and gives it its name, which is when the checkpoint exists;
  // then latest. Throws Error before that; what fails after it is returned (empty: nothing).
  std::string publish(const std::filesystem::path& making, const Manifest& manifest) const;

  // What is older than the newest `keep` complete ones (0: nothing), but for those of a step that is a
  // multiple of keep_every (0: none), oldest first.
  std::vector<std::filesystem::path> surplus(int64_t keep, int64_t keep_every) const;
  // Folders named damaged_... and superseded_....
  std::vector<std::filesystem::path> put_aside() const;
  // What interrupted saves, removals and writes of files left, in the run folder too.
  std::vector<std::filesystem::path> leftovers() const;
  void remove(const std::filesystem::path& folder) const;

  // Removes leftovers; latest names the newest again. Returns what was done, a line each.
  std::vector<std::string> tidy() const;

  // Renames the folder to PREFIX_step_..., so that it is neither resumed from nor counted, and latest names
  // the newest of the others; returns the name.
  std::filesystem::path set_aside(const std::filesystem::path& folder, const std::string& prefix) const;

 private:
  void point_latest() const;
  std::filesystem::path root_;
};

}  // namespace orrery
