// The reader of torch.distributed.checkpoint folders against one that torch wrote on two ranks, and against
// folders that must be refused.
#include "ckpt/dcp.h"

#include <ATen/ops/zeros.h>

#include "twin.h"

namespace orrery {
namespace {

using test::ScratchFolder;
using testing::HasSubstr;

const std::map<std::string, std::string> kBad{
    {"hole", "leave a hole"},
    {"missing", "cannot open"},
    {"offset", "cut short?"},
    {"path", "is not a file of this folder"},
};
constexpr std::array<const char*, 4> kParts{"model", "optim", "scheduler", "trainer"};

void expect_equal_to_twin(const std::filesystem::path& root) {
  const Safetensors twin(root / "dcp_tiny.safetensors");
  size_t read = 0;
  for (const std::string part : kParts)
    read += test::expect_twin(*open_weights(root / "dcp_tiny" / part), twin, part + ".");
  EXPECT_EQ(read, test::size_of(twin));
}

TEST(Dcp, reads_every_part_equal_to_its_twin) {
  expect_equal_to_twin(test::golden());
}

TEST(Dcp, refuses_every_malformed_folder_with_its_reason) {
  test::expect_refusals(test::golden(), "dcp_bad_", kBad);
}

TEST(Dcp, reads_and_refuses_the_shared_collection) {
  if (!std::filesystem::exists(test::shared_parity() / "dcp_tiny"))
    GTEST_SKIP() << "../shared/parity/dcp_* is absent";
  expect_equal_to_twin(test::shared_parity());
  test::expect_refusals(test::shared_parity(), "dcp_bad_", kBad);
}

TEST(Dcp, a_training_checkpoint_opens_at_its_model) {
  const auto file = open_weights(test::golden() / "dcp_tiny");
  EXPECT_TRUE(file->contains("net.emb"));
  EXPECT_TRUE(file->contains("net_ema.emb"));
  EXPECT_EQ(file->entry("net.emb").shape, (std::vector<int64_t>{7, 6}));
}

TEST(Dcp, rows_across_two_ranks_are_put_together) {
  const auto file = open_weights(test::golden() / "dcp_tiny");
  const Safetensors twin(test::golden() / "dcp_tiny.safetensors");
  EXPECT_TRUE(test::same_bytes(file->rows("net.emb", {2, 6}), twin.rows("model.net.emb", {2, 6})));
  EXPECT_TRUE(test::same_bytes(file->rows("net.emb", {3, 3}), at::zeros({0, 6}, at::kBFloat16)));
}

TEST(Dcp, every_truncation_and_flipped_bit_of_the_metadata_is_refused_or_read) {
  const ScratchFolder folder;
  const auto tiny = test::golden() / "dcp_bad_offset";
  const std::string good = test::read_file(tiny / ".metadata");
  std::filesystem::copy_file(tiny / "__0_0.distcp", folder / "__0_0.distcp");
  for (size_t length = 0; length < good.size(); length += 17) {
    test::write_file(folder / ".metadata", good.substr(0, length));
    EXPECT_NE(test::refusal(folder.path()), "accepted") << length;
  }
  for (size_t at = 0; at < good.size(); at += 5) {
    std::string bad = good;
    bad[at] = static_cast<char>(bad[at] ^ (1 << at % 8));
    test::write_file(folder / ".metadata", bad);
    test::refusal(folder.path());
  }
}

// Python's pickles of DCP's classes, by hand.
namespace pickled {
std::string text(const std::string& s) {
  const auto size = static_cast<uint32_t>(s.size());
  return "X" + std::string(reinterpret_cast<const char*>(&size), 4) + s;
}
std::string integer(int64_t value) {
  return "\x8a\x08" + std::string(reinterpret_cast<const char*>(&value), 8);
}
std::string size(const std::vector<int64_t>& sizes) {
  std::string items;
  for (const int64_t s : sizes) items += integer(s);
  return "ctorch\nSize\n((" + items + "ttR";
}
std::string dict(const std::vector<std::pair<std::string, std::string>>& items) {
  std::string out = "}(";
  for (const auto& [key, value] : items) out += key + value;
  return out + "u";
}
std::string object(const std::string& name, std::vector<std::pair<std::string, std::string>> fields) {
  for (auto& [key, value] : fields) key = text(key);
  return "ctorch.distributed.checkpoint." + name + "\n)\x81" + dict(fields) + "b";
}
std::string chunk(const std::vector<int64_t>& offsets, const std::vector<int64_t>& sizes) {
  return object("metadata\nChunkStorageMetadata", {{"offsets", size(offsets)}, {"sizes", size(sizes)}});
}
std::string tensor(const std::vector<int64_t>& shape, const std::string& chunks) {
  const std::string layout = "ctorch.serialization\n_get_layout\n(" + text("torch.strided") + "tR";
  return object("metadata\nTensorStorageMetadata",
                {{"properties",
                  object("metadata\nTensorProperties", {{"dtype", "ctorch\nfloat32\n"}, {"layout", layout}})},
                 {"size", size(shape)},
                 {"chunks", chunks}});
}
std::string index(const std::string& name, const std::vector<int64_t>& offset) {
  return object("metadata\nMetadataIndex", {{"fqn", text(name)}, {"offset", size(offset)}});
}
std::string place(int64_t offset, int64_t length) {
  return object("filesystem\n_StorageInfo",
                {{"relative_path", text("f")}, {"offset", integer(offset)}, {"length", integer(length)}});
}
std::string metadata(const std::string& tensors, const std::string& places) {
  return "\x80\x02" +
         object("metadata\nMetadata", {{"state_dict_metadata", tensors}, {"storage_data", places}}) + ".";
}
}  // namespace pickled

TEST(Dcp, a_piece_smaller_than_its_chunk_is_refused_before_anything_is_allocated) {
  using namespace pickled;
  const ScratchFolder folder;
  const std::vector<int64_t> shape{int64_t{1} << 56};
  test::write_file(folder / "f", std::string(10, 'x'));
  test::write_file(folder / ".metadata",
                   metadata(dict({{text("w"), tensor(shape, "](" + chunk({0}, shape) + "e")}}),
                            dict({{index("w", {0}), place(0, 10)}})));
  EXPECT_THAT(test::refusal(folder.path()), HasSubstr("a piece of 10 bytes for a chunk of"));
}

// Else a small file could be read as a tensor many times its size.
TEST(Dcp, pieces_that_overlap_are_refused) {
  using namespace pickled;
  const ScratchFolder folder;
  test::write_file(folder / "f", std::string(100, 'x'));
  for (const int64_t second : {0, 49, 50}) {
    test::write_file(
        folder / ".metadata",
        metadata(dict({{text("w"), tensor({2}, "](" + chunk({0}, {1}) + chunk({1}, {1}) + "e")}}),
                 dict({{index("w", {0}), place(0, 50)}, {index("w", {1}), place(second, 50)}})));
    EXPECT_EQ(test::refusal(folder.path()).find("overlap") != std::string::npos, second < 50) << second;
  }
}

TEST(Dcp, a_list_of_chunks_that_all_tensors_share_is_refused) {
  using namespace pickled;
  std::string chunks = "](";
  for (int i = 0; i < 1000; ++i) chunks += chunk({0}, {0});
  std::vector<std::pair<std::string, std::string>> tensors{
      {text("first"), tensor({0}, chunks + std::string("eq\0", 3))}};
  for (int i = 0; i < 1000; ++i)
    tensors.emplace_back(text("w" + std::to_string(i)), tensor({0}, std::string("h\0", 2)));
  try {
    read_dcp_metadata(metadata(dict(tensors), dict({})));
    FAIL() << "accepted";
  } catch (const Error& error) {
    EXPECT_THAT(error.what(), HasSubstr("shares its chunks"));
  }
}

TEST(Dcp, a_changed_byte_is_found_by_its_checksum) {
  const ScratchFolder folder;
  std::filesystem::copy(test::golden() / "dcp_tiny" / "model", folder / "model");
  EXPECT_THAT(open_weights(folder.path())->damage(), testing::IsEmpty());
  std::string piece = test::read_file(folder / "model/__0_0.distcp");
  const DcpMetadata metadata = read_dcp_metadata(test::read_file(folder / "model/.metadata"));
  const DcpItem& item = metadata.tensors.at("net.emb").chunks[0].item;
  ASSERT_EQ(item.file, "__0_0.distcp");
  test::damage_storage(piece, item.begin, item.size);
  test::write_file(folder / "model/__0_0.distcp", piece);
  EXPECT_THAT(open_weights(folder.path())->damage(), testing::ElementsAre(HasSubstr("__0_0.distcp")));
}

TEST(Dcp, a_damaged_piece_is_refused_by_tensor) {
  const ScratchFolder folder;
  std::filesystem::copy(test::golden() / "dcp_tiny" / "model", folder / "model");
  std::string piece = test::read_file(folder / "model/__0_0.distcp");
  for (size_t i = 0; i < piece.size(); i += 64) piece[i] = 'x';
  test::write_file(folder / "model/__0_0.distcp", piece);
  EXPECT_THAT(test::refusal(folder.path()), HasSubstr("tensor 'net.blocks.0.mlp.bias'"));
}

}  // namespace
}  // namespace orrery
