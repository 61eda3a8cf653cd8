// Shard files, their manifest and the reader: what is written comes back, and damage is found.
#include "ckpt/checkpoint_reader.h"

#include <ATen/ops/arange.h>
#include <ATen/ops/equal.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <hdf5.h>

#include <fstream>

#include "base/error.h"
#include "base/rng.h"
#include "ckpt/digest.h"
#include "ckpt/shard_file.h"
#include "fixtures.h"

namespace orrery {
namespace {

namespace fs = std::filesystem;
using testing::HasSubstr;

std::function<bool(int64_t)> always() {
  return [](int64_t) { return true; };
}

PieceToWrite piece(const std::string& name, const at::Tensor& rows, std::vector<int64_t> shape,
                   int64_t begin) {
  return {name,
          rows.scalar_type(),
          std::move(shape),
          begin,
          rows.dim() == 0 ? 1 : rows.size(0),
          static_cast<const char*>(rows.const_data_ptr())};
}

// Two files: a large tensor split between them, a bfloat16 one and a scalar.
struct Sample {
  test::ScratchFolder folder;
  at::Tensor large = at::arange(700 * 1000, at::kFloat).view({700, 1000});  // 2.67 MiB
  at::Tensor half = at::arange(35, at::kFloat).view({5, 7}).to(at::kBFloat16);
  at::Tensor count = at::arange(9, at::kLong)[5].clone();
  Manifest manifest;

  Sample() {
    manifest.step = 20;
    manifest.seed = -3;
    manifest.mesh = {1, 2, 1};
    manifest.texts = {{"config", "[train]\nlr = \"a \\ b\"\n"}};
    const at::Tensor first = large.slice(0, 0, 600).contiguous(), second = large.slice(0, 600).contiguous();
    add("rank_00000.h5", {piece("large", first, {700, 1000}, 0), piece("count", count, {}, 0)});
    add("rank_00001.h5", {piece("large", second, {700, 1000}, 600), piece("half", half, {5, 7}, 0)});
    store(manifest_text(manifest));
  }
  void add(const std::string& name, const std::vector<PieceToWrite>& pieces) {
    Manifest part = write_shard_file(folder / name, pieces, always());
    part.step = manifest.step;
    merge_manifest(manifest, part, name);
  }
  void store(const std::string& text) const { test::write_file(folder / kManifestName, text); }
};

std::string refusal(const std::function<void()>& run) {
  try {
    run();
  } catch (const Error& error) {
    return error.what();
  }
  ADD_FAILURE() << "no error";
  return {};
}

TEST(Checkpoint, gives_back_rows_of_any_range_across_files) {
  const Sample sample;
  const Checkpoint checkpoint(sample.folder.path());
  EXPECT_TRUE(at::equal(checkpoint.tensor("large"), sample.large));
  for (const auto& [begin, end] :
       {std::pair<int64_t, int64_t>{0, 1}, {599, 601}, {261, 263}, {700, 700}, {3, 699}})
    EXPECT_TRUE(at::equal(checkpoint.rows("large", begin, end), sample.large.slice(0, begin, end))) << begin;
  EXPECT_TRUE(at::equal(checkpoint.tensor("half"), sample.half));
  EXPECT_TRUE(at::equal(checkpoint.tensor("count"), sample.count));
  EXPECT_EQ(checkpoint.manifest().step, 20);
  EXPECT_EQ(checkpoint.manifest().seed, -3);
  EXPECT_EQ(checkpoint.manifest().texts, sample.manifest.texts);
  EXPECT_EQ(verify_checkpoint(sample.folder.path()), std::vector<std::string>{});
  EXPECT_THAT(refusal([&] { checkpoint.rows("large", 5, 701); }), HasSubstr("rows 5 to 701 of 700"));
  EXPECT_THAT(refusal([&] { checkpoint.tensor("small"); }), HasSubstr("has no small"));
}

TEST(Checkpoint, a_shard_is_an_hdf5_file_that_other_programs_read) {
  const Sample sample;
  const hid_t file = H5Fopen((sample.folder / "rank_00001.h5").c_str(), H5F_ACC_RDONLY, H5P_DEFAULT);
  ASSERT_GE(file, 0);
  const hid_t set = H5Dopen2(file, "large", H5P_DEFAULT);
  ASSERT_GE(set, 0);
  std::vector<float> data(100 * 1000);
  EXPECT_GE(H5Dread(set, H5T_NATIVE_FLOAT, H5S_ALL, H5S_ALL, H5P_DEFAULT, data.data()), 0);
  EXPECT_EQ(data.front(), 600'000);
  EXPECT_EQ(data.back(), 699'999);
  int64_t begin = 0;
  const hid_t attribute = H5Aopen(set, "begin", H5P_DEFAULT);
  EXPECT_GE(H5Aread(attribute, H5T_NATIVE_INT64, &begin), 0);
  EXPECT_EQ(begin, 600);
  H5Aclose(attribute);
  H5Dclose(set);
  H5Fclose(file);
}

TEST(Checkpoint, the_same_state_gives_the_same_bytes) {
  const Sample a, b;
  for (const char* name : {"rank_00000.h5", "rank_00001.h5", kManifestName})
    EXPECT_EQ(test::read_file(a.folder / name), test::read_file(b.folder / name)) << name;
}

TEST(Checkpoint, verify_finds_every_single_flipped_bit) {
  const Sample sample;
  Rng random(5, "flips");
  const std::vector<fs::path> files = {sample.folder / "rank_00000.h5", sample.folder / "rank_00001.h5",
                                       sample.folder / kManifestName};
  for (int i = 0; i < 100; ++i) {
    const fs::path& file = files[random.below(files.size())];
    std::string bytes = test::read_file(file);
    const uint64_t bit = random.below(8 * bytes.size());
    bytes[bit / 8] = static_cast<char>(bytes[bit / 8] ^ (1 << bit % 8));
    test::write_file(file, bytes);
    EXPECT_FALSE(verify_checkpoint(sample.folder.path()).empty()) << file << " bit " << bit;
    bytes[bit / 8] = static_cast<char>(bytes[bit / 8] ^ (1 << bit % 8));
    test::write_file(file, bytes);
  }
  EXPECT_TRUE(verify_checkpoint(sample.folder.path()).empty());
}

TEST(Checkpoint, rows_beside_a_damaged_block_are_read_and_the_block_is_refused) {
  const Sample sample;
  std::string bytes = test::read_file(sample.folder / "rank_00000.h5");
  const ManifestPiece& large = sample.manifest.tensors.at("large").pieces[0];
  bytes[static_cast<size_t>(large.offset) + 5] ^= 1;  // row 0
  test::write_file(sample.folder / "rank_00000.h5", bytes);
  const Checkpoint checkpoint(sample.folder.path());
  EXPECT_TRUE(at::equal(checkpoint.rows("large", 300, 700), sample.large.slice(0, 300)));
  EXPECT_THAT(refusal([&] { checkpoint.rows("large", 0, 1); }),
              testing::AllOf(HasSubstr("large"), HasSubstr("do not have their digest")));
}

TEST(Checkpoint, missing_and_wrong_sized_files_are_refused_by_name) {
  const Sample sample;
  fs::resize_file(sample.folder / "rank_00001.h5", 5000);
  EXPECT_THAT(refusal([&] { Checkpoint c(sample.folder.path()); }),
              HasSubstr("rank_00001.h5: has 5000 bytes"));
  fs::remove(sample.folder / "rank_00001.h5");
  EXPECT_THAT(refusal([&] { Checkpoint c(sample.folder.path()); }), HasSubstr("rank_00001.h5: missing"));
  fs::remove(sample.folder / kManifestName);
  EXPECT_THAT(refusal([&] { Checkpoint c(sample.folder.path()); }), HasSubstr("not a complete checkpoint"));
}

TEST(ShardFile, a_cancelled_or_failed_write_leaves_nothing) {
  const test::ScratchFolder folder;
  const at::Tensor x = at::arange(10, at::kFloat);
  EXPECT_THROW(write_shard_file(folder / "a.h5", {piece("x", x, {10}, 0)}, [](int64_t) { return false; }),
               Error);
  EXPECT_THROW(write_shard_file(folder / "none/a.h5", {piece("x", x, {10}, 0)}, always()), Error);
  EXPECT_THROW(write_shard_file(folder / "a.h5", {piece("x", x, {10}, 0), piece("x", x, {10}, 0)}, always()),
               Error);
  EXPECT_TRUE(fs::is_empty(folder.path()));
}

TEST(Manifest, hostile_ones_are_refused) {
  const Sample sample;
  using Change = std::function<void(Manifest&)>;
  const auto piece_of = [](Manifest& m) -> ManifestPiece& { return m.tensors.at("large").pieces[1]; };
  const std::vector<std::pair<std::string, Change>> kChanges = {
      {"wanted 600 of 700", [&](Manifest& m) { piece_of(m).begin = 601; }},
      {"wanted 600 of 700", [&](Manifest& m) { piece_of(m).begin = 599; }},
      {"of 700", [&](Manifest& m) { piece_of(m).rows = 101; }},
      {"rows 699 to 700 are missing", [&](Manifest& m) { piece_of(m).rows = 99; }},
      {"of 700", [&](Manifest& m) { piece_of(m).rows = -1; }},
      {"are missing", [&](Manifest& m) { m.tensors.at("large").pieces.pop_back(); }},
      {"in no file", [&](Manifest& m) { piece_of(m).file = 2; }},
      {"beyond its file", [&](Manifest& m) { piece_of(m).offset = int64_t{1} << 62; }},
      {"beyond its file", [&](Manifest& m) { piece_of(m).offset = -8; }},
      {"overlap", [&](Manifest& m) { m.tensors.at("half").pieces[0].offset = piece_of(m).offset; }},
      {"digests", [&](Manifest& m) { piece_of(m).digests.pop_back(); }},
      {"impossible size",
       [](Manifest& m) {
         m.tensors["huge"] = {at::kFloat, {int64_t{1} << 40, int64_t{1} << 40}};
       }},
      {"impossible size",
       [](Manifest& m) {
         m.tensors["huge"] = {at::kFloat, {-1}};
       }},
      {"dimensions",
       [](Manifest& m) {
         m.tensors["deep"] = {at::kFloat, std::vector<int64_t>(17, 1)};
       }},
      {"odd characters", [](Manifest& m) { m.files[0].name = "../rank_00000.h5"; }},
      {"odd characters", [](Manifest& m) { m.files[0].name = ".."; }},
      {"named twice", [](Manifest& m) { m.files[0].name = m.files[1].name; }},
      {"bytes", [](Manifest& m) { m.files[0].bytes = -1; }},
      {"step", [](Manifest& m) { m.step = -1; }}};
  for (const auto& [message, change] : kChanges) {
    Manifest changed = sample.manifest;
    change(changed);
    const std::string text = manifest_text(changed);
    EXPECT_THAT(refusal([&] { parse_manifest(text, "m", Coverage::whole); }), HasSubstr(message));
  }
}

// With the digest of what it says.
std::string signed_text(const std::string& body) {
  return body + ",\"digest\":\"" + hex_of(digest_of(body)) + "\"}\n";
}

TEST(Manifest, texts_that_are_no_manifest_are_refused) {
  const std::string good = manifest_text(Sample().manifest), body = good.substr(0, good.rfind(",\"digest\""));
  ASSERT_EQ(signed_text(body), good);
  std::string deep = "{\"format\":";
  for (int i = 0; i < 100'000; ++i) deep += '[';
  for (const std::string& text :
       {std::string(), std::string("{}"), std::string(4000, '\0'), good + "\n",
        good.substr(0, good.size() / 2), signed_text(""), signed_text("{"), signed_text("{\"format\":3"),
        signed_text(deep), signed_text(" " + body), signed_text(body + ",\"more\":1"),
        signed_text(body + ",\"step\":20"), signed_text("{\"step\":1," + body.substr(1)),
        signed_text("{\"format\":\"orrery checkpoint\"")})
    EXPECT_THROW(parse_manifest(text, "m", Coverage::whole), Error) << text.substr(0, 50);
  std::string later = body;
  later.replace(later.find("\"version\":1"), 11, "\"version\":2");
  EXPECT_THAT(refusal([&] { parse_manifest(signed_text(later), "m", Coverage::whole); }),
              HasSubstr("format version 2, this program reads 1"));
}

TEST(Manifest, every_flipped_bit_of_one_is_found) {
  const std::string good = manifest_text(Sample().manifest);
  for (size_t bit = 0; bit < 8 * good.size(); bit += 3) {
    std::string text = good;
    text[bit / 8] = static_cast<char>(text[bit / 8] ^ (1 << bit % 8));
    EXPECT_THROW(parse_manifest(text, "m", Coverage::whole), Error) << bit;
  }
}

}  // namespace
}  // namespace orrery
