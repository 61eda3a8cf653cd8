#include "cli/options.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <fstream>
#include <regex>
#include <set>

#include "base/error.h"

namespace orrery::cli {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;

const Usage kUsage = {.command = "train", .summary = "", .positional = "FILE...", .takes_ini = true};

std::string read_source(const std::string& path) {
  std::ifstream in(std::string(ORRERY_SOURCE_DIR) + "/" + path);
  EXPECT_TRUE(in.good()) << path;
  return {std::istreambuf_iterator<char>(in), {}};
}

class IniFile {
 public:
  explicit IniFile(const std::string& text)
      : path_(testing::TempDir() + "options_" + std::to_string(getpid()) + ".ini") {
    std::ofstream(path_, std::ios::binary) << text;
  }
  ~IniFile() { std::filesystem::remove(path_); }
  const std::string& path() const { return path_; }

 private:
  std::string path_;
};

template <class F>
std::string message_of(const F& run) {
  try {
    run();
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), Exit::bad_input);
    return error.what();
  }
  ADD_FAILURE() << "no error";
  return {};
}

Config parsed(const std::vector<std::string>& arguments) {
  Config config;
  parse_arguments(arguments, settings_of(config), kUsage);
  return config;
}

std::string refusal(const std::vector<std::string>& arguments) {
  return message_of([&] { parsed(arguments); });
}

std::string ini_refusal(const std::string& text) {
  const IniFile file(text);
  Config config;
  return message_of([&] { read_ini(file.path(), settings_of(config)); });
}

// Words that a row takes and that differ from its present value; the value itself for a set of one word.
std::string other_value(const Setting& row) {
  const std::string now = row.show();
  std::vector<std::string> tries = {"false", "true", "3", "0.25", "0", "1", "7", "a \\ \"b\" #c\n ",
                                    "3, 5",  "x, y"};
  const std::regex word("\\w+");
  for (std::sregex_iterator w(row.wanted.begin(), row.wanted.end(), word), end; w != end; ++w)
    tries.push_back(w->str());
  for (const auto& text : tries) {
    try {
      row.read(text);
    } catch (const Error&) {
      continue;
    }
    const bool changed = row.show() != now;
    row.read(now);
    if (changed) return text;
  }
  return now;
}

TEST(Settings, list_of_keys_is_frozen) {
  Config config;
  std::string keys;
  const Settings table = settings_of(config);
  for (const auto& row : table.all()) keys += row.key + "\n";
  EXPECT_EQ(keys, read_source("tests/cli/keys.txt")) << "scripts rely on these names: change them with care";
}

TEST(Settings, every_field_of_the_config_has_its_row_and_no_other) {
  const std::string header = read_source("src/base/config.h"), table = read_source("src/cli/bindings.cpp");
  std::set<std::string> fields, rows;
  std::string section;
  std::istringstream lines(header);
  const std::regex open("struct (\\w+)Config \\{.*"), field("  [\\w:<>]+ (\\w+)(?: =.*|;.*)");
  std::smatch found;
  for (std::string line; std::getline(lines, line);) {
    if (std::regex_match(line, found, open)) section = found[1];
    if (line == "};") section.clear();
    if (section.empty() || !std::regex_match(line, found, field)) continue;
    section[0] = static_cast<char>(std::tolower(section[0]));
    fields.insert(section + "." + found[1].str());
  }
  const std::regex row("s\\.bind\\(\"(\\w+)\\.(\\w+)\",\\s*c\\.(\\w+)");
  for (std::sregex_iterator r(table.begin(), table.end(), row), end; r != end; ++r) {
    EXPECT_EQ((*r)[2], (*r)[3]) << "key and field differ";
    rows.insert((*r)[1].str() + "." + (*r)[2].str());
  }
  EXPECT_GT(fields.size(), 80u);
  EXPECT_EQ(rows, fields);
}

TEST(Settings, each_key_changes_one_field_and_round_trips) {
  Config config, fresh;
  const Settings table = settings_of(config), fresh_table = settings_of(fresh);
  for (const auto& row : table.all()) {
    config = {};
    const std::string before = ini_of(table), value = other_value(row);
    const bool one_word = value == row.show();
    SCOPED_TRACE(row.key + " = " + value);
    EXPECT_FALSE(row.help.empty());
    EXPECT_TRUE(!one_word || row.wanted.find(' ') == std::string::npos);
    parse_arguments({"--" + row.key + "=" + value}, table, kUsage);
    EXPECT_EQ(config == Config{}, one_word);
    EXPECT_EQ(ini_of(table) == before, one_word);
    for (const auto& other : fresh_table.all()) {
      EXPECT_TRUE(other.key == row.key || table.find(other.key)->show() == other.show()) << other.key;
    }
    const IniFile file(ini_of(table));
    Config again;
    read_ini(file.path(), settings_of(again));
    EXPECT_TRUE(again == config) << ini_of(table);
  }
}

TEST(Settings, names_that_scripts_rely_on_reach_their_fields) {
  const Config c = parsed({"--model.preset=14b",
                           "--data.path=/films",
                           "--data.kind=video_folder",
                           "--data.frames=17",
                           "--data.height=64",
                           "--data.width=96",
                           "--data.max_bad_fraction=0.5",
                           "--train.steps=7",
                           "--train.batch=8",
                           "--train.seed=9",
                           "--train.lr=1e-3",
                           "--train.run_dir=runs/x",
                           "--train.resume=never",
                           "--train.log_every=2",
                           "--numerics.dtype=bfloat16",
                           "--numerics.deterministic=true",
                           "--tokenizer.kind=linear",
                           "--tokenizer.channels=32",
                           "--text.kind=hash",
                           "--parallel.replicate=2",
                           "--parallel.shard=4",
                           "--parallel.context=3",
                           "--memory.policy=none",
                           "--ckpt.every=11"});
  EXPECT_EQ(c.model.preset, "14b");
  EXPECT_EQ(c.data.path, "/films");
  EXPECT_EQ(c.data.kind, DataKind::video_folder);
  EXPECT_THAT((std::vector{c.data.frames, c.data.height, c.data.width}), ElementsAre(17, 64, 96));
  EXPECT_EQ(c.data.max_bad_fraction, 0.5);
  EXPECT_THAT((std::vector{c.train.steps, c.train.batch, c.train.seed, c.train.log_every}),
              ElementsAre(7, 8, 9, 2));
  EXPECT_EQ(c.train.lr, 1e-3);
  EXPECT_EQ(c.train.run_dir, "runs/x");
  EXPECT_EQ(c.train.resume, "never");
  EXPECT_TRUE(c.numerics.deterministic);
  EXPECT_EQ(c.numerics.dtype, Dtype::bfloat16);
  EXPECT_EQ(c.tokenizer.kind, TokenizerKind::linear);
  EXPECT_EQ(c.text.kind, TextKind::hash);
  EXPECT_THAT((std::vector{c.parallel.replicate, c.parallel.shard, c.parallel.context}),
              ElementsAre(2, 4, 3));
  EXPECT_EQ(c.memory.policy, MemoryPolicy::none);
  EXPECT_THAT((std::vector{c.tokenizer.channels, c.ckpt.every}), ElementsAre(32, 11));
}

TEST(Settings, numbers_round_trip_bit_for_bit) {
  for (const double lr : {0.1, 1.0 / 3, 4.3158372875155485e-05, 5e-324, 1.7976931348623157e308}) {
    Config config, again;
    config.train.lr = lr;
    config.train.seed = INT64_MAX;
    const IniFile file(ini_of(settings_of(config)));
    read_ini(file.path(), settings_of(again));
    EXPECT_TRUE(again == config) << lr;
  }
}

TEST(Settings, any_text_round_trips) {
  for (const std::string text : {"", " a ", "#", "a # b", "\"", "\"a\"", "a\\x23", "\n[train]\nsteps = 1",
                                 "\xff\xfe", "[x]", "a=b", ";", "\r", "\t", "\x7f", "ünïcode", "=", "a "}) {
    Config config, again;
    config.data.path = text;
    const IniFile file(ini_of(settings_of(config)));
    read_ini(file.path(), settings_of(again));
    EXPECT_EQ(again.data.path, text);
    EXPECT_TRUE(again == config) << text;
  }
}

TEST(Arguments, the_last_value_wins_in_the_order_given) {
  const IniFile file("[train]\nsteps = 5\nbatch = 6\nsteps = 7\n");
  EXPECT_EQ(parsed({file.path()}).train.steps, 7);
  EXPECT_EQ(parsed({"--train.steps=1", "--config", file.path()}).train.steps, 7);
  EXPECT_EQ(parsed({"--config=" + file.path(), "--train.steps=1"}).train.steps, 1);
  EXPECT_EQ(parsed({"--train.steps", "1", "--train.steps", "2"}).train.steps, 2);
}

TEST(Arguments, unknown_key_names_near_misses) {
  EXPECT_THAT(refusal({"--train.step=3"}),
              HasSubstr("unknown setting \"train.step\"; did you mean train.steps"));
  EXPECT_THAT(refusal({"--lr=3"}), HasSubstr("train.lr"));
  EXPECT_THAT(refusal({"--model.dtype=float32"}), HasSubstr("numerics.dtype"));
  EXPECT_THAT(refusal({"--trian.lr", "3"}), HasSubstr("did you mean train.lr"));
  EXPECT_THAT(refusal({"--zzzzzzzzzz=1"}), testing::Not(HasSubstr("did you mean")));
  EXPECT_THAT(refusal({"--train.ste=1"}), HasSubstr("unknown"));  // shortened names are not guessed
}

TEST(Arguments, wrong_value_names_key_value_and_wanted) {
  EXPECT_EQ(refusal({"--numerics.dtype=fp16"}),
            "numerics.dtype: got \"fp16\", wanted one of float32, bfloat16, float64");
  EXPECT_EQ(refusal({"--train.steps=0"}), "train.steps: got \"0\", wanted a whole number >= 1");
  EXPECT_EQ(refusal({"--optim.master_weights=yes"}),
            "optim.master_weights: got \"yes\", wanted true or false");
  for (const std::string text : {"", " 1", "1 ", "1.5", "0x10", "+1", "1e3", "99999999999999999999", "nan"}) {
    EXPECT_THAT(refusal({"--train.steps=" + text}), HasSubstr("train.steps")) << text;
  }
  for (const std::string text : {"", "nan", "inf", "-1", "1e999", "1,5", "1 2"}) {
    EXPECT_THAT(refusal({"--train.lr=" + text}), HasSubstr("train.lr")) << text;
  }
  for (const std::string text : {",", "1,", "1,,2", "1 2", "-1", "a"}) {
    EXPECT_THAT(refusal({"--flow.condition_frames=" + text}), HasSubstr("flow.condition_frames")) << text;
  }
}

TEST(Arguments, malformed_command_lines_are_refused) {
  EXPECT_THAT(refusal({"--train.steps"}), HasSubstr("train.steps"));
  EXPECT_THAT(refusal({"--config"}), HasSubstr("config"));
  EXPECT_THAT(refusal({"-x"}), HasSubstr("-x"));
  EXPECT_THAT(refusal({"--config=/nowhere/a.ini"}), HasSubstr("/nowhere/a.ini"));
  Config config;
  const auto stray = [&] {
    parse_arguments({"stray"}, settings_of(config), {.command = "doctor", .summary = ""});
  };
  EXPECT_THAT(message_of(stray), HasSubstr("takes no argument \"stray\""));
}

TEST(Arguments, help_lists_every_setting_with_its_value_and_range) {
  Config config;
  const Settings table = settings_of(config);
  const std::string help = help_text(table, kUsage);
  for (const auto& row : table.all()) EXPECT_THAT(help, HasSubstr("--" + row.key + "=" + row.show()));
  EXPECT_THAT(help, HasSubstr("one of float32, bfloat16, float64"));
  std::istringstream lines(help);
  for (std::string line; std::getline(lines, line);) EXPECT_LE(line.size(), 100u) << line;
  EXPECT_TRUE(parse_arguments({"--help"}, table, kUsage).help);
  EXPECT_TRUE(parse_arguments({"-h"}, table, kUsage).help);
}

TEST(Ini, errors_name_file_and_line) {
  EXPECT_THAT(ini_refusal("[train]\n\nsteps = x\n"), HasSubstr(".ini:3: train.steps: got \"x\""));
  EXPECT_THAT(ini_refusal("[train]\nstepz = 1\n"),
              HasSubstr(".ini:2: unknown setting \"train.stepz\"; did you mean"));
  EXPECT_THAT(ini_refusal("steps = 1\n"), HasSubstr("did you mean"));
  EXPECT_THAT(ini_refusal("[train]\nsteps\n"), HasSubstr(".ini:2: wanted [section], key = value"));
  EXPECT_THAT(ini_refusal("[train\nsteps = 1\n"), HasSubstr(".ini:1"));
  EXPECT_THAT(ini_refusal("[]\n"), HasSubstr(".ini:1"));
  EXPECT_THAT(ini_refusal("= 3\n"), HasSubstr(".ini:1"));
  EXPECT_THAT(ini_refusal("[data]\npath = a#b\n"), HasSubstr(".ini:2: write a space before #"));
  EXPECT_THAT(ini_refusal("[data]\npath = \"a\n"), HasSubstr("closing quote"));
  EXPECT_THAT(ini_refusal("[data]\npath = \"a # b\"\n"), HasSubstr("closing quote"));
  EXPECT_THAT(ini_refusal("[data]\npath = \"a\" b\n"), HasSubstr("after the closing quote"));
  EXPECT_THAT(ini_refusal("[data]\npath = \"\\q\"\n"), HasSubstr("escapes"));
  EXPECT_THAT(ini_refusal("[data]\npath = \"\\x2\"\n"), HasSubstr("escapes"));
  EXPECT_THAT(ini_refusal(std::string("[data]\npath = a\0b\n", 18)), HasSubstr("NUL"));
  EXPECT_THAT(ini_refusal(std::string(2 << 20, '#')), HasSubstr("bytes"));
}

TEST(Ini, reads_comments_byte_order_mark_and_windows_lines) {
  const IniFile file(
      "\xEF\xBB\xBF# first\r\n[train]  # section\r\n  steps=12 # twelve\r\n\r\n[data]\r\npath = a b  "
      "\r\nbad");
  Config config;
  EXPECT_THAT(message_of([&] { read_ini(file.path(), settings_of(config)); }), HasSubstr(":7: wanted"));
  EXPECT_EQ(config.train.steps, 12);
  EXPECT_EQ(config.data.path, "a b");
}

TEST(Ini, a_folder_is_refused) {
  Config config;
  const auto read = [&] { read_ini(testing::TempDir(), settings_of(config)); };
  EXPECT_THAT(message_of(read), HasSubstr("cannot be read as an INI file"));
}

}  // namespace
}  // namespace orrery::cli
