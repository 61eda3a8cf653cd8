#pragma once
// Settings: the table between "section.key" and the fields that hold the values, read from INI files and
// --section.key=value and written back as INI. Every subcommand parses its arguments here, and its --help is
// generated from its table. Errors name the key, the value and what is wanted, and in a file the line.
#include <filesystem>
#include <functional>
#include <limits>
#include <string>
#include <string_view>
#include <type_traits>
#include <vector>

#include "base/config.h"

namespace orrery::cli {

// Limits of a number, both included.
struct Range {
  double least = -std::numeric_limits<double>::infinity();
  double most = std::numeric_limits<double>::infinity();
};

// One row of the table. read throws Error when the text is not what is wanted.
struct Setting {
  std::string key;                               // "train.lr"
  std::string help;                              // one line
  std::string wanted;                            // "a number >= 0", "one of cpu, cuda"
  std::function<void(const std::string&)> read;  // text -> field
  std::function<std::string()> show;             // field -> text that read takes back exactly
};

class Settings {
 public:
  // Adds a row. The field must outlive the table. T: bool, int64_t, double, std::string, vectors of the last
  // three, or an enumeration with names_of.
  template <class T>
  requires(!std::is_enum_v<T>) void bind(std::string key, T& field, std::string help, Range range = {});
  template <class E>
  requires std::is_enum_v<E>
  void bind(std::string key, E& field, std::string help) {
    bind_names(
        std::move(key), std::move(help), names_of(field),
        {[&field](size_t i) { field = static_cast<E>(i); }, [&field] { return static_cast<size_t>(field); }});
  }

  const std::vector<Setting>& all() const& { return rows_; }
  const Setting* find(std::string_view key) const&;  // null when unknown
  void all() && = delete;
  void find(std::string_view key) && = delete;
  void set(const std::string& key, const std::string& text,
           const std::string& where) const;  // where: "a.ini:3"

  // Up to three keys that the writer of an unknown one may have meant, best first.
  std::vector<std::string> near_misses(std::string_view key) const;

 private:
  struct EnumField {
    std::function<void(size_t)> store;
    std::function<size_t()> load;
  };
  void bind_names(std::string key, std::string help, std::span<const std::string_view> names,
                  EnumField field);
  void add(Setting row);
  std::vector<Setting> rows_;
};

// The table of the whole configuration.
Settings settings_of(Config& config);

// Reads a file of [section] and key = value lines (Boost.Program_options' format: # starts a comment). A
// value in double quotes keeps its spaces and may hold \\ \" \n \t and \xHH.
void read_ini(const std::filesystem::path& file, const Settings& settings);
void read_ini(std::istream& in, const std::string& name, const Settings& settings);
// All settings, in the table's order; read_ini of it gives the same values bit for bit.
std::string ini_of(const Settings& settings);

// What a subcommand takes besides its settings.
struct Usage {
  std::string command;          // "train"
  std::string summary;          // one sentence
  std::string positional = {};  // "FILE..." for the help; empty: none are taken
  bool takes_ini = false;       // positional arguments are INI files, and so is --config FILE
  std::string notes = {};       // further lines of the help
};

struct Parsed {
  bool help = false;                    // --help was given: print help_text and stop
  std::vector<std::string> positional;  // empty with takes_ini
};

// Applies INI files and options in the order given: the last value wins.
Parsed parse_arguments(const std::vector<std::string>& arguments, const Settings& settings,
                       const Usage& usage);
std::string help_text(const Settings& settings, const Usage& usage);

}  // namespace orrery::cli
