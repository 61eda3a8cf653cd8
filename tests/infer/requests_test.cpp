// Samples as users write them: every field with its default, every mistake with its line.
#include "infer/requests.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "base/error.h"
#include "data/caption.h"
#include "fixtures.h"
#include "infer/request_fields.h"
#include "infer/sha256.h"

namespace orrery {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;

class Requests : public testing::Test {
 protected:
  RequestList read(const std::string& text, const std::string& name = "a.jsonl") {
    test::write_file(folder_ / name, text);
    return read_requests({folder_ / name}, overrides_, limits_);
  }
  FilmRequest one(const std::string& text, const std::string& name = "a.jsonl") {
    RequestList list = read(text, name);
    EXPECT_THAT(list.problems, ElementsAre());
    EXPECT_EQ(list.requests.size(), 1u);
    return list.requests.empty() ? FilmRequest{} : list.requests[0];
  }
  // What is wrong, without the folder's path.
  std::vector<std::string> wrong(const std::string& text, const std::string& name = "a.jsonl") {
    std::vector<std::string> problems = read(text, name).problems;
    const std::string prefix = folder_.path().string() + "/";
    for (std::string& p : problems)
      for (size_t at; (at = p.find(prefix)) != std::string::npos;) p.erase(at, prefix.size());
    return problems;
  }
  // A sample that is right but for this.
  std::string sample(const std::string& more) {
    return R"({"name": "a", "inference_type": "text2world", "prompt": "p", )" + more + "}";
  }

  test::ScratchFolder folder_;
  std::vector<FieldOverride> overrides_;
  FilmLimits limits_;
};

TEST_F(Requests, default_negative_prompt_is_the_one_of_the_released_models) {
  EXPECT_EQ(kDefaultNegativePrompt.size(), 538u);
  EXPECT_EQ(test::sha256("abc"), "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
  EXPECT_EQ(test::sha256(std::string(kDefaultNegativePrompt)),
            "6d7ca93077e7e4a8417947ab03266c97dd44c9ec0d7b97fa4272ed956895239f");
}

TEST_F(Requests, have_the_defaults_of_the_reference) {
  const FilmRequest r = one(R"({"name": "a", "inference_type": "text2world", "prompt": "p"})");
  EXPECT_EQ(r.name, "a");
  EXPECT_EQ(r.type, InferenceType::text2world);
  EXPECT_EQ(r.prompt, "p");
  EXPECT_EQ(r.negative_prompt, kDefaultNegativePrompt);
  EXPECT_EQ(r.seed, 0);
  EXPECT_EQ(r.guidance, 7);
  EXPECT_EQ(r.height, 0);
  EXPECT_EQ(r.num_steps, 35);
  EXPECT_EQ(r.num_output_frames, 77);
  EXPECT_FALSE(r.enable_autoregressive);
  EXPECT_EQ(r.chunk_size, 77);
  EXPECT_EQ(r.chunk_overlap, 1);
  EXPECT_EQ(r.given(), 0);
  EXPECT_THAT(r.where, HasSubstr("a.jsonl:1"));
}

TEST_F(Requests, take_every_field) {
  test::write_file(folder_ / "in.mp4", "x");
  test::write_file(folder_ / "p.txt", "  from a file \n");
  const FilmRequest r = one(R"({"name": "a", "inference_type": "video2world", "prompt_path": "p.txt",
    "input_path": "in.mp4", "negative_prompt": "", "seed": 4294967293, "guidance": 0, "resolution": "480, 832",
    "num_output_frames": 200, "num_steps": 4, "enable_autoregressive": true, "chunk_size": 93,
    "chunk_overlap": 5})",
                            "a.json");
  EXPECT_EQ(r.type, InferenceType::video2world);
  EXPECT_EQ(r.given(), 2);
  EXPECT_EQ(r.prompt, "from a file");
  EXPECT_EQ(r.input_path, folder_ / "in.mp4");
  EXPECT_EQ(r.negative_prompt, "");
  EXPECT_EQ(r.seed, 4294967293);
  EXPECT_EQ(r.guidance, 0);
  EXPECT_EQ(r.height, 480);
  EXPECT_EQ(r.width, 832);
  EXPECT_EQ(r.num_output_frames, 200);
  EXPECT_EQ(r.num_steps, 4);
  EXPECT_TRUE(r.enable_autoregressive);
  EXPECT_EQ(r.chunk_size, 93);
  EXPECT_EQ(r.chunk_overlap, 5);
}

TEST_F(Requests, read_back_as_they_were_written) {
  test::write_file(folder_ / "in.png", "x");
  const FilmRequest first = one(
      R"({"name": "a", "inference_type": "image2world", "prompt": "p \"q\"", "input_path": "in.png",
          "resolution": "480,832", "seed": 3, "chunk_size": 5})",
      "a.json");
  const FilmRequest again = one(json_of(first).dump(2), "b.json");
  EXPECT_EQ(json_of(again), json_of(first));
  EXPECT_EQ(json_of(first)["resolution"], "480,832");
  for (const RequestField& field : request_fields()) {
    if (field.name == "prompt_path") continue;
    EXPECT_TRUE(json_of(first).contains(field.name)) << field.name;
  }
}

TEST_F(Requests, a_prompt_wins_over_a_prompt_path) {
  test::write_file(folder_ / "p.txt", "file");
  EXPECT_EQ(one(sample(R"("prompt_path": "p.txt")")).prompt, "p");
  EXPECT_EQ(
      one(R"({"name": "a", "inference_type": "text2world", "prompt": null, "prompt_path": "p.txt"})").prompt,
      "file");
}

TEST_F(Requests, the_older_form_gives_a_sample_for_each_name) {
  test::write_file(folder_ / "in.jpg", "x");
  const RequestList list = read(R"({
    "inference_type": "image2world", "guidance": 3, "resolution": "none", "num_output_frames": 77,
    "samples": {"left": {"prompt": "l", "input_path": "in.jpg"},
                "right": {"prompt": "r", "input_path": "in.jpg"}}})",
                                "old.json");
  ASSERT_THAT(list.problems, ElementsAre());
  ASSERT_EQ(list.requests.size(), 2u);
  EXPECT_EQ(list.requests[1].name, "right");
  EXPECT_EQ(list.requests[1].prompt, "r");
  EXPECT_EQ(list.requests[1].guidance, 3);
  EXPECT_EQ(list.requests[1].seed, 1) << "the older form's default";
  EXPECT_EQ(list.requests[1].where, (folder_ / "old.json").string() + ":4");
  EXPECT_THAT(wrong(R"({"inference_type": "text2world", "num_steps": 3,
    "samples": {"a": {"prompt": "p", "seed": 1},
                "b": 3}})",
                    "old.json"),
              ElementsAre("old.json:1: num_steps: no such field of a file with samples",
                          "old.json:2: seed: no such field of a sample",
                          "old.json:3: sample \"b\": wanted an object {...}",
                          "old.json:3: prompt: is missing, and so is prompt_path"));
}

TEST_F(Requests, all_mistakes_of_all_files_are_told_with_their_lines) {
  EXPECT_THAT(
      wrong("{\"name\": \"a\", \"inference_type\": \"image2world\", \"prompt\": \"p\", \"input_path\": "
            "\"no.png\"}\n"
            "\n"
            "{\"name\": \"b\", \"inference_type\": \"text2world\"\n"
            "[1]\n"
            "{\"name\": \"c\", \"name\": \"c\"}\n"
            "{\"guidance\": 8, \"Seed\": 1}\n" +
            sample("\"colour\": 1") + "\n"),
      ElementsAre(
          "a.jsonl:1: input_path: no.png is no file",
          testing::StartsWith("a.jsonl:3: not valid JSON: column 45: syntax error"),
          "a.jsonl:4: wanted an object {...} with the fields of a sample", "a.jsonl:5: \"name\" comes twice",
          "a.jsonl:6: guidance: got 8, wanted a whole number from 0 to 7",
          "a.jsonl:6: Seed: no such field; did you mean seed", "a.jsonl:6: name: is missing",
          "a.jsonl:6: inference_type: is missing", "a.jsonl:6: prompt: is missing, and so is prompt_path",
          testing::StartsWith("a.jsonl:7: colour: no such field; known are name, inference_type"),
          "a.jsonl:7: name: \"a\" is taken, by a.jsonl:1"));
}

TEST_F(Requests, lines_of_one_object_are_counted) {
  EXPECT_THAT(wrong("{\n  \"name\": \"a\",\n  \"inference_type\": \"text2world\",\n\n  \"prompt\": 3,\n"
                    "  \"seed\":\n 1.5\n}\n",
                    "a.json"),
              ElementsAre("a.json:5: prompt: got 3, wanted text",
                          "a.json:6: seed: got 1.5, wanted a whole number from 0 to 4294967295"));
  EXPECT_THAT(wrong("{\n\"name\": \"a\",\n,}", "a.json"),
              ElementsAre(testing::StartsWith("a.json:3: not valid JSON")));
  EXPECT_THAT(wrong("{}\n{}\n", "a.json"), ElementsAre(testing::StartsWith("a.json:2: not valid JSON")));
}

TEST_F(Requests, wrong_values_of_every_field_are_refused) {
  for (const auto& [field, value] :
       std::vector<std::pair<std::string, std::string>>{{"name", "\"\""},
                                                        {"name", "\"a/b\""},
                                                        {"name", "\".a\""},
                                                        {"name", "\"a\\u0000\""},
                                                        {"name", "3"},
                                                        {"inference_type", "\"image\""},
                                                        {"inference_type", "1"},
                                                        {"prompt", "[\"p\"]"},
                                                        {"prompt_path", "\"no.txt\""},
                                                        {"prompt_path", "3"},
                                                        {"input_path", "\"no.png\""},
                                                        {"input_path", "\"\""},
                                                        {"input_path", "\"a.jsonl\\u0000\""},
                                                        {"negative_prompt", "null"},
                                                        {"seed", "-1"},
                                                        {"seed", "4294967296"},
                                                        {"seed", "\"1\""},
                                                        {"guidance", "7.5"},
                                                        {"guidance", "-1"},
                                                        {"resolution", "\"704\""},
                                                        {"resolution", "\"704x1280\""},
                                                        {"resolution", "\"0,16\""},
                                                        {"resolution", "704"},
                                                        {"resolution", "\"99999999999999999999,16\""},
                                                        {"num_output_frames", "0"},
                                                        {"num_steps", "0"},
                                                        {"num_steps", "true"},
                                                        {"enable_autoregressive", "1"},
                                                        {"chunk_size", "0"},
                                                        {"chunk_overlap", "-1"},
                                                        {"seed", "18446744073709551615"}}) {
    std::string row = R"({"name": "a", "inference_type": "text2world", "prompt": "p"})";
    if (const size_t at = row.find("\"" + field + "\""); at != std::string::npos)
      row = row.substr(0, at) + "\"" + field + "\": " + value + row.substr(row.find_first_of(",}", at));
    else
      row = sample("\"" + field + "\": " + value);
    EXPECT_THAT(wrong(row), ElementsAre(HasSubstr("a.jsonl:1: " + field + ": "))) << value;
  }
}

TEST_F(Requests, values_must_fit_the_model_and_each_other) {
  limits_ = {.frames = 9, .height = 32, .width = 32, .max_height = 64, .max_width = 64, .num_generations = 2};
  test::write_file(folder_ / "in.txt", "x");
  test::write_file(folder_ / "in.webp", "x");
  EXPECT_THAT(wrong(sample(R"("resolution": "40,32")")), ElementsAre(HasSubstr("wanted multiples of 16")));
  EXPECT_THAT(wrong(sample(R"("resolution": "80,32")")), ElementsAre(HasSubstr("makes up to 64,64")));
  EXPECT_THAT(wrong(sample(R"("seed": 4294967295)")), ElementsAre(HasSubstr("go beyond")));
  const auto chunks = [&](const std::string& more) {
    return wrong(sample(R"("enable_autoregressive": true, )" + more));
  };
  EXPECT_THAT(chunks(R"("chunk_size": 10)"), ElementsAre(HasSubstr("chunk_size: got 10")));
  EXPECT_THAT(chunks(R"("chunk_size": 9, "chunk_overlap": 3)"), ElementsAre(HasSubstr("4 n + 1")));
  EXPECT_THAT(chunks(R"("chunk_size": 5, "chunk_overlap": 5)"),
              ElementsAre(HasSubstr("less than chunk_size")));
  EXPECT_THAT(wrong(sample(R"("chunk_size": 10)")), ElementsAre())
      << "not read without enable_autoregressive";
  const auto given = [&](const std::string& type, const std::string& file, const std::string& more = "") {
    return wrong(R"({"name": "a", "inference_type": ")" + type + R"(", "prompt": "p", "input_path": ")" +
                 file + "\"" + more + "}");
  };
  EXPECT_THAT(given("image2world", "in.txt"), ElementsAre(HasSubstr("neither .png")));
  EXPECT_THAT(given("image2world", "in.webp"), ElementsAre());
  EXPECT_THAT(given("video2world", "in.webp", R"(, "enable_autoregressive": true, "chunk_size": 3)"),
              ElementsAre(HasSubstr("video2world is given 5 frames")));
  limits_.frames = 1;
  EXPECT_THAT(given("image2world", "in.webp"), ElementsAre(HasSubstr("the model's clips have 1")));
}

TEST_F(Requests, seeds_of_all_chunks_of_all_films_have_32_bits) {
  limits_ = {.frames = 9, .height = 32, .width = 32, .num_generations = 2};
  const auto seeded = [&](int64_t seed) {
    return wrong(sample(R"("enable_autoregressive": true, "num_output_frames": 25, "chunk_size": 9, )"
                        R"("chunk_overlap": 1, "seed": )" +
                        std::to_string(seed)));
  };
  EXPECT_THAT(seeded(4294967292), ElementsAre()) << "two films of three chunks";
  EXPECT_THAT(seeded(4294967293), ElementsAre(HasSubstr("seed: 4294967293 and the 3 after it")));
}

TEST_F(Requests, messages_are_valid_text_whatever_was_got) {
  std::string umlauts;
  for (size_t i = 0; i < 100; ++i) umlauts += "\xc3\xa4";
  for (const char* const shift : {"", "a"}) {
    const auto problems = wrong(sample(R"("seed": ")" + (shift + umlauts) + "\""));
    ASSERT_EQ(problems.size(), 1u);
    EXPECT_TRUE(is_utf8(problems[0])) << problems[0];
    EXPECT_THAT(problems[0], HasSubstr("..., wanted a whole number"));
  }
  EXPECT_THAT(wrong(sample(R"("seed": 1e999)")),
              ElementsAre("a.jsonl:1: not valid JSON: the number 1e999 is too large"));
}

TEST_F(Requests, names_and_the_films_they_lead_to_are_unique) {
  limits_.num_generations = 2;
  const auto named = [](const std::string& name, int seed) {
    return R"({"name": ")" + name + R"(", "inference_type": "text2world", "prompt": "", "seed": )" +
           std::to_string(seed) + "}\n";
  };
  EXPECT_THAT(wrong(named("a", 0) + named("a", 5)),
              ElementsAre("a.jsonl:2: name: \"a\" is taken, by a.jsonl:1"));
  EXPECT_THAT(wrong(named("a", 0) + named("b", 0) + named("a_seed1", 5)),
              ElementsAre(HasSubstr("\"a_seed1\" is taken")));
}

TEST_F(Requests, flags_win_over_files_and_their_paths_are_of_the_current_folder) {
  overrides_ = {{"seed", "5"}, {"enable_autoregressive", "true"}, {"prompt", "3"}, {"num_steps", "2"}};
  const FilmRequest r = one(sample(R"("seed": -1)"));
  EXPECT_EQ(r.seed, 5);
  EXPECT_TRUE(r.enable_autoregressive);
  EXPECT_EQ(r.prompt, "3");
  EXPECT_EQ(r.num_steps, 2);
  test::write_file(folder_ / "in.mp4", "x");
  overrides_ = {{"input_path", "in.mp4"}};
  EXPECT_THAT(wrong(sample("\"seed\": 1")).at(0), HasSubstr("--input_path: "));
  overrides_ = {{"guidance", "8"}};
  EXPECT_THAT(wrong(sample("\"seed\": 1")),
              ElementsAre("--guidance: got 8, wanted a whole number from 0 to 7"));
  overrides_ = {{"prompt", "\xff"}};
  EXPECT_THAT(wrong(sample("\"seed\": 1")), ElementsAre("--prompt: got text that is not UTF-8"));
  overrides_ = {{"inference_type", "text2world"}, {"prompt", ""}};
  EXPECT_EQ(one(R"({"name": "a"})").prompt, "");
}

TEST_F(Requests, files_that_are_none_are_told_too) {
  const auto problems = read_requests({folder_ / "no.json", folder_.path() / "a.yaml"}, {}, {}).problems;
  EXPECT_THAT(problems, ElementsAre(HasSubstr("no.json: no such file"), HasSubstr("wanted a file .json")));
  EXPECT_THAT(wrong("\n\n"), ElementsAre("no samples in the files"));
  EXPECT_THROW(require_no_problems({"x"}), Error);
  EXPECT_NO_THROW(require_no_problems({}));
}

TEST_F(Requests, films_of_one_sample_have_seeds_that_count_up) {
  FilmRequest r;
  r.name = "a";
  r.seed = 7;
  EXPECT_EQ(film_stem(r, 0, 1), "a");
  EXPECT_EQ(film_stem(r, 2, 3), "a_seed9");
}

TEST_F(Requests, hostile_json_is_refused) {
  EXPECT_THAT(wrong(std::string(100000, '['), "a.json"), ElementsAre(HasSubstr("nested deeper")));
  std::string deep;
  for (int i = 0; i < 100; ++i) deep += "{\"a\":";
  EXPECT_THAT(wrong(deep, "a.json"), ElementsAre(HasSubstr("nested deeper")));
  EXPECT_THAT(wrong("{\"name\": \"\xff\"}", "a.json"), ElementsAre(HasSubstr("not valid JSON")));
  EXPECT_THAT(wrong(std::string("{\"name\": \"a\0\"}", 14), "a.json"),
              ElementsAre(HasSubstr("not valid JSON")));
}

}  // namespace
}  // namespace orrery
