// Command lines of the subcommands, by Boost.Program_options, and their help.
#include <boost/program_options/options_description.hpp>
#include <boost/program_options/parsers.hpp>
#include <boost/program_options/value_semantic.hpp>

#include "base/error.h"
#include "cli/options.h"

namespace orrery::cli {
namespace {

namespace po = boost::program_options;
using Style = po::command_line_style::style_t;

constexpr int kStyle = Style::allow_long | Style::long_allow_adjacent | Style::long_allow_next |
                       Style::allow_short | Style::allow_dash_for_short |
                       Style::short_allow_next;  // no guessing of shortened names

// A subcommand's own yes or no, outside of the sections: --table alone says yes.
bool is_switch(const Setting& row) {
  return row.key.find('.') == std::string::npos && row.wanted == "true or false";
}

// Boost would take the word behind a bare switch for its value: `--json FILE`.
std::vector<std::string> with_explicit_switches(std::vector<std::string> arguments,
                                                const Settings& settings) {
  for (std::string& word : arguments) {
    const Setting* const row = word.starts_with("--") ? settings.find(word.substr(2)) : nullptr;
    if (row && is_switch(*row)) word += "=true";
  }
  return arguments;
}

po::parsed_options split(const std::vector<std::string>& arguments, const Settings& settings,
                         const Usage& usage) {
  po::options_description known;
  known.add_options()("help,h", "");
  if (usage.takes_ini) known.add_options()("config", po::value<std::string>());
  for (const auto& row : settings.all()) known.add_options()(row.key.c_str(), po::value<std::string>());
  try {
    return po::command_line_parser(with_explicit_switches(arguments, settings))
        .options(known)
        .style(kStyle)
        .allow_unregistered()
        .run();
  } catch (const po::error& error) {
    fail(error.what(), " (write --section.key=value; orrery ", usage.command, " --help lists the settings)");
  }
}

// Breaks text into lines of at most width columns.
std::string wrapped(const std::string& text, size_t indent, size_t width) {
  std::istringstream words(text);
  std::string line, all;
  for (std::string word; words >> word;) {
    if (!line.empty() && indent + line.size() + 1 + word.size() > width) {
      all += std::string(indent, ' ') + line + "\n";
      line.clear();
    }
    line += (line.empty() ? "" : " ") + word;
  }
  return all + std::string(indent, ' ') + line + "\n";
}

std::string section_of(const Setting& row) {
  const size_t dot = row.key.find('.');
  return dot == std::string::npos ? "" : row.key.substr(0, dot);
}

}  // namespace

Parsed parse_arguments(const std::vector<std::string>& arguments, const Settings& settings,
                       const Usage& usage) {
  Parsed parsed;
  for (const auto& option : split(arguments, settings, usage).options) {
    const std::string value = option.value.empty() ? "" : option.value.front();
    if (option.string_key == "help") {
      parsed.help = true;
      return parsed;
    }
    if (option.position_key >= 0) {
      require(!usage.positional.empty(), "orrery ", usage.command, " takes no argument \"", value,
              "\" (options are written --section.key=value)");
      if (usage.takes_ini)
        read_ini(value, settings);
      else
        parsed.positional.push_back(value);
    } else if (option.string_key == "config" && !option.unregistered) {
      read_ini(value, settings);
    } else {
      settings.set(option.string_key, value, "");
    }
  }
  return parsed;
}

std::string help_text(const Settings& settings, const Usage& usage) {
  constexpr size_t kWidth = 100;
  const bool any = !settings.all().empty();
  std::string text = "orrery " + usage.command + ": " + usage.summary + "\n\nusage: orrery " + usage.command +
                     (any ? " [--key=value...]" : "") +
                     (usage.positional.empty() ? "" : " " + usage.positional) + "\n";
  if (usage.takes_ini) {
    text +=
        "\nSettings come from INI files ([section] and key = value lines) and from --section.key=value.\n"
        "They apply in the order given: the last value wins.\n";
  }
  if (!usage.notes.empty()) text += "\n" + usage.notes + "\n";
  if (any) text += "\n";
  std::string section = any ? section_of(settings.all().front()) : "";
  for (const auto& row : settings.all()) {
    if (section_of(row) != section) text += "\n";
    section = section_of(row);
    const std::string value = row.show();
    text += "  --" + row.key + "=" + (value.empty() ? "\"\"" : value) + "\n";
    text += wrapped(row.help + " (" + row.wanted + ")", 6, kWidth);
  }
  return text + "\n  --help\n      print this\n";
}

}  // namespace orrery::cli
