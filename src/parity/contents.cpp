#include "parity/contents.h"

#include "ckpt/weight_file.h"

namespace orrery {
namespace {

std::filesystem::path beside(const Case& c, const std::string& option) {
  const std::filesystem::path name = c.option<std::string>(option);
  require(name == name.filename(), "config option ", option, " is no plain name: ", name.string());
  return c.file.parent_path() / name;
}

}  // namespace

NamedTensors run_pt_contents(const Case& c, at::Device) {
  return open_weights(beside(c, "file"))->tensors();
}

NamedTensors run_dcp_contents(const Case& c, at::Device) {
  const auto folder = beside(c, "folder");
  NamedTensors all;
  for (const std::string part : {"model", "optim", "scheduler", "trainer"})
    for (auto& [name, tensor] : open_weights(folder / part)->tensors())
      all.emplace(part + "." + name, std::move(tensor));
  return all;
}

}  // namespace orrery
