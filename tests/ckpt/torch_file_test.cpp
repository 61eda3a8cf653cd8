// The reader of PyTorch files and pickles against files of torch and numpy with a safetensors twin, and
// against files that must be refused.
#include "ckpt/torch_file.h"

#include "ckpt/zip_writer.h"
#include "twin.h"

namespace orrery {
namespace {

using test::ScratchFolder;
using testing::HasSubstr;

const std::map<std::string, std::string> kBad{
    {"cycle.pt", "contains itself"},
    {"deep.pt", "nested deeper"},
    {"deep_tuple.pkl", "nested deeper"},
    {"eval.pt", "global 'builtins eval'"},
    {"frame.pkl", "frame"},
    {"getattr.pt", "global 'torch._utils _rebuild_tensor_v2.__globals__'"},
    {"key_path.pt", "storage key"},
    {"key_type.pt", "storage key is a tuple"},
    {"laughs.pt", "ends with 40 values"},
    {"legacy_count.pt", "elements"},
    {"legacy_truncated.pt", "cut short"},
    {"len_bytes8.pkl", "cut short"},
    {"len_unicode.pt", "cut short"},
    {"memo.pt", "never stored"},
    {"missing_data.pt", "no entry 'archive/data/1'"},
    {"negative_size.pt", "negative size"},
    {"negative_stride.pt", "negative stride"},
    {"next_buffer.pkl", "opcode 151"},
    {"no_stop.pkl", "no STOP"},
    {"np_object.pickle", "'O8'"},
    {"np_shape.pickle", "overflows"},
    {"numel_huge.pt", "16 bytes"},
    {"opcode.pkl", "opcode"},
    {"os_system.pt", "global 'os system'"},
    {"posix_inst.pkl", "opcode 105"},
    {"short_data.pt", "has 9 bytes"},
    {"stack_global.pkl", "global 'subprocess call'"},
    {"stack_underflow.pkl", "opcode 48"},
    {"storage_class.pt", "global 'torch load'"},
    {"storage_offset.pt", "of a storage of 4"},
    {"stride_overflow.pt", "overflows"},
    {"truncated_zip.pt", "no end of the central directory"},
    {"zip_cdoffset.pt", "central directory"},
    {"zip_dupname.pt", "two entries"},
    {"zip_overlap.pt", "overlap"},
    {"zip_overlap_inner.pt", "overlap"},
    {"zip_size.pt", "beyond the archive"},
};

std::vector<std::filesystem::path> torch_files(const std::filesystem::path& folder,
                                               const std::string& prefix) {
  std::vector<std::filesystem::path> files;
  for (const std::string ending : {".pt", ".pkl", ".pickle"})
    for (const auto& path : test::files_in(folder, prefix, ending)) files.push_back(path);
  return files;
}

void expect_all_twins(const std::filesystem::path& folder) {
  for (const auto& path : torch_files(folder, "pt_")) {
    if (path.filename().string().starts_with("pt_bad_")) continue;
    const Safetensors twin(std::filesystem::path(path).replace_extension(".safetensors"));
    EXPECT_EQ(test::expect_twin(*open_weights(path), twin), test::size_of(twin)) << path;
  }
}

TEST(TorchFile, reads_every_well_formed_file_equal_to_its_twin) {
  ASSERT_GE(torch_files(test::golden(), "pt_").size(), kBad.size() + 12);
  expect_all_twins(test::golden());
}

TEST(TorchFile, refuses_every_malformed_file_with_its_reason) {
  EXPECT_EQ(torch_files(test::golden(), "pt_bad_").size(), kBad.size());
  test::expect_refusals(test::golden(), "pt_bad_", kBad);
}

TEST(TorchFile, reads_and_refuses_the_shared_collection) {
  const auto bad = torch_files(test::shared_parity(), "pt_bad_");
  if (bad.empty()) GTEST_SKIP() << "../shared/parity/pt_* is absent";
  expect_all_twins(test::shared_parity());
  for (const auto& path : bad) EXPECT_EQ(kBad.count(path.filename().string().substr(7)), 1u) << path;
  test::expect_refusals(test::shared_parity(), "pt_bad_", kBad);
}

TEST(TorchFile, every_truncation_and_every_flipped_bit_is_refused_or_read) {
  const ScratchFolder folder;
  for (const std::string name : {"pt_legacy.pt", "pt_t5_list_np1_p2.pickle", "pt_oldzip.pt"}) {
    const std::string good = test::read_file(test::golden() / name);
    for (size_t length = 0; length < good.size(); length += 31) {
      test::write_file(folder / "cut", good.substr(0, length));
      EXPECT_NE(test::refusal(folder / "cut"), "accepted") << name << " " << length;
    }
    for (size_t at = 0; at < good.size(); at += 17) {
      std::string bad = good;
      bad[at] = static_cast<char>(bad[at] ^ (1 << at % 8));
      test::write_file(folder / "flip", bad);
      test::refusal(folder / "flip");
    }
  }
}

// Ten levels of lists, each holding the one below ten times through the memo: 10^10 leaves when walked.
TEST(TorchFile, containers_that_repeat_without_end_are_refused) {
  const ScratchFolder folder;
  std::string value = std::string("K\x01q") + '\0';
  for (char level = 1; level <= 10; ++level) {
    const std::string again{'h', static_cast<char>(level - 1)};
    value = "](" + value;
    for (int i = 1; i < 10; ++i) value += again;
    value += std::string("eq") + level;
  }
  test::write_file(folder / "bomb.pkl", "\x80\x02" + value + ".");
  EXPECT_THAT(test::refusal(folder / "bomb.pkl"), HasSubstr("a bomb?"));
}

// One text of 1 MiB, referred to 70 times: each would be a copy.
TEST(TorchFile, texts_that_repeat_beyond_64_mib_are_refused) {
  const ScratchFolder folder;
  std::string bytes("\x80\x02](X\0\0\x10\0", 9);
  bytes += std::string(1 << 20, 'x') + std::string("q\0", 2);
  for (int i = 0; i < 70; ++i) bytes += std::string("h\0", 2);
  test::write_file(folder / "texts.pkl", bytes + "e.");
  EXPECT_THAT(test::refusal(folder / "texts.pkl"), HasSubstr("have more than 67108864 bytes"));
}

std::string le(auto value) {
  return {reinterpret_cast<const char*>(&value), sizeof value};
}

// A file of torch.save with one tensor of four floats, which the strides of 0 repeat.
void save_expanded(const std::filesystem::path& path, const std::vector<int64_t>& shape) {
  const auto text = [](const std::string& s) { return "X" + le(static_cast<uint32_t>(s.size())) + s; };
  std::string sizes, strides;
  for (const int64_t size : shape) {
    sizes += "\x8a\x08" + le(size);
    strides += std::string("K\0", 2);
  }
  ZipWriter zip(path);
  zip.add("archive/data.pkl",
          "\x80\x02"
          "ctorch._utils\n_rebuild_tensor_v2\n((" +
              text("storage") + "ctorch\nFloatStorage\n" + text("0") + text("cpu") +
              std::string("K\4tQK\0(", 7) + sizes + "t(" + strides +
              "t\x89"
              "ccollections\nOrderedDict\n)RtR.");
  zip.add("archive/data/0", std::string(16, '\0'));
  zip.publish();
}

TEST(TorchFile, an_expanded_tensor_is_read_and_one_without_measure_is_refused) {
  const ScratchFolder folder;
  const auto path = folder / "expanded.pt";
  save_expanded(path, {1000, 1000});
  EXPECT_EQ(open_weights(path)->rows("", {5, 7}).sizes(), (std::vector<int64_t>{2, 1000}));
  for (const auto& shape : {std::vector<int64_t>{1 << 26}, {int64_t{1} << 50}, {1, int64_t{1} << 40}}) {
    save_expanded(path, shape);
    EXPECT_THAT(test::refusal(path), HasSubstr("repeat their storages")) << shape;
  }
}

TEST(TorchFile, a_changed_byte_is_found_by_its_checksum) {
  const ScratchFolder folder;
  for (const std::string name : {"pt_state_dict.pt", "pt_oldzip.pt", "pt_nocrc.pt", "pt_legacy.pt"}) {
    std::string bytes = test::read_file(test::golden() / name);
    test::write_file(folder / name, bytes);
    EXPECT_THAT(open_weights(folder / name)->damage(), testing::IsEmpty()) << name;
    const bool has_checksums = name == "pt_state_dict.pt" || name == "pt_oldzip.pt";
    if (name == "pt_legacy.pt")
      bytes.back() ^= 1;
    else
      test::damage_storage(bytes);
    test::write_file(folder / name, bytes);
    const auto damage = open_weights(folder / name)->damage();
    ASSERT_EQ(damage.size(), has_checksums ? 1u : 0u) << name;
    for (const std::string& line : damage) EXPECT_THAT(line, HasSubstr("/data/0"));
  }
}

TEST(TorchFile, refuses_what_is_neither_safetensors_nor_zip_nor_pickle) {
  const ScratchFolder folder;
  test::write_file(folder / "text.pt", "weights: none\n");
  EXPECT_THAT(test::refusal(folder / "text.pt"), HasSubstr("neither safetensors"));
  test::write_file(folder / "empty.pt", "");
  EXPECT_THAT(test::refusal(folder / "empty.pt"), HasSubstr("neither safetensors"));
  EXPECT_THAT(test::refusal(folder / "absent.pt"), HasSubstr("cannot open"));
  EXPECT_THAT(test::refusal(folder.path()), HasSubstr("a folder without weights"));
}

TEST(TorchFile, a_safetensors_file_is_known_whatever_its_name) {
  const ScratchFolder folder;
  std::filesystem::copy_file(test::golden() / "st_ok_dtypes.safetensors", folder / "model.pt");
  EXPECT_EQ(test::refusal(folder / "model.pt"), "accepted");
}

TEST(TorchFile, unknown_names_and_rows_are_refused_by_name) {
  const auto file = open_weights(test::golden() / "pt_views.pt");
  const auto message = [&](const std::string& name, RowRange rows) {
    try {
      file->rows(name, rows);
    } catch (const Error& error) {
      return std::string(error.what());
    }
    return std::string();
  };
  EXPECT_THAT(message("absent", {0, 1}), HasSubstr("pt_views.pt: no tensor 'absent'"));
  EXPECT_THAT(message("base", {0, 7}), HasSubstr("rows 0 to 7 of 6"));
  EXPECT_THAT(message("base", {-1, 2}), HasSubstr("rows -1 to 2 of 6"));
  EXPECT_THAT(message("end", {0, 0}), HasSubstr("a scalar has no part"));
}

}  // namespace
}  // namespace orrery
