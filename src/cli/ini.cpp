// INI files. The grammar of a line is Boost.Program_options'; it is fed line by line so that errors can name
// the line.
#include <boost/program_options/options_description.hpp>
#include <boost/program_options/parsers.hpp>
#include <fstream>

#include "base/error.h"
#include "cli/options.h"

namespace orrery::cli {
namespace {

namespace po = boost::program_options;

constexpr int64_t kMaxFileBytes = 1 << 20;

std::string_view trimmed(std::string_view text) {
  const size_t begin = text.find_first_not_of(" \t\r");
  if (begin == std::string_view::npos) return {};
  return text.substr(begin, text.find_last_not_of(" \t\r") - begin + 1);
}

bool needs_quotes(const std::string& value) {
  if (value.empty()) return false;
  if (value.front() == ' ' || value.back() == ' ' || value.front() == '"') return true;
  return std::any_of(value.begin(), value.end(),
                     [](unsigned char c) { return c < 0x20 || c == '#' || c == 0x7f; });
}

std::string quoted(const std::string& value) {
  constexpr std::string_view hex = "0123456789abcdef";
  std::string text = "\"";
  for (const unsigned char c : value) {
    if (c == '"' || c == '\\') {
      text += {'\\', static_cast<char>(c)};
    } else if (c < 0x20 || c == '#' || c == 0x7f) {
      text += {'\\', 'x', hex[c >> 4], hex[c & 15]};
    } else {
      text += static_cast<char>(c);
    }
  }
  return text + '"';
}

int hex_digit(char c) {
  if (c >= '0' && c <= '9') return c - '0';
  if (c >= 'a' && c <= 'f') return c - 'a' + 10;
  return c >= 'A' && c <= 'F' ? c - 'A' + 10 : -1;
}

// One character after a backslash; moves i behind it.
char escaped(const std::string& value, size_t& i, const std::string& where) {
  const char kind = i < value.size() ? value[i++] : '\0';
  if (kind == '\\' || kind == '"') return kind;
  if (kind == 'n') return '\n';
  if (kind == 't') return '\t';
  const int high = kind == 'x' && i + 1 < value.size() ? hex_digit(value[i]) : -1;
  const int low = high < 0 ? -1 : hex_digit(value[i + 1]);
  require(low >= 0, where, ": a quoted value knows the escapes \\\\ \\\" \\n \\t and \\xHH, got ", value);
  i += 2;
  return static_cast<char>(high * 16 + low);
}

std::string unquoted(const std::string& value, const std::string& where) {
  if (value.empty() || value.front() != '"') return value;
  std::string text;
  for (size_t i = 1; i < value.size();) {
    const char c = value[i++];
    if (c == '\\') {
      text += escaped(value, i, where);
    } else if (c != '"') {
      text += c;
    } else {
      require(i == value.size(), where, ": text after the closing quote: ", value);
      return text;
    }
  }
  fail(where, ": the closing quote is missing in ", value, " (inside quotes write # as \\x23)");
}

// A # right after a letter is more likely part of a name than a comment: Boost would cut the value there in
// silence.
void check_comment(const std::string& line, const std::string& where) {
  const size_t hash = line.find('#');
  const bool glued = hash != std::string::npos && hash > 0 && line[hash - 1] != ' ' && line[hash - 1] != '\t';
  require(!glued, where,
          ": write a space before # to start a comment; a value with # is written \"...\\x23...\"");
}

void apply_line(const std::string& section, const std::string& line, const Settings& settings,
                const std::string& where) {
  std::istringstream text((section.empty() ? "" : "[" + section + "]\n") + line + "\n");
  po::options_description none;
  try {
    const auto parsed = po::parse_config_file(text, none, true);
    for (const auto& option : parsed.options) {
      const std::string value = option.value.empty() ? "" : option.value.front();
      settings.set(option.string_key, unquoted(value, where), where);
    }
  } catch (const po::error&) {
    fail(where, ": wanted [section], key = value or # comment, got \"", line, "\"");
  }
}

}  // namespace

void read_ini(const std::filesystem::path& file, const Settings& settings) {
  std::error_code error;
  const auto bytes = std::filesystem::file_size(file, error);
  require(!error && std::filesystem::is_regular_file(file), file.string(),
          ": cannot be read as an INI file (", error ? error.message() : "not a regular file", ")");
  require(bytes <= kMaxFileBytes, file.string(), ": ", bytes, " bytes; an INI file has at most ",
          kMaxFileBytes);
  std::ifstream in(file, std::ios::binary);
  require(in.good(), file.string(), ": cannot be opened (are you allowed to read it?)");
  read_ini(in, file.string(), settings);
}

void read_ini(std::istream& in, const std::string& name, const Settings& settings) {
  std::string section, line;
  for (int64_t number = 1; std::getline(in, line); ++number) {
    const std::string where = name + ":" + std::to_string(number);
    if (number == 1 && line.starts_with("\xEF\xBB\xBF")) line.erase(0, 3);
    require(line.find('\0') == std::string::npos, where, ": a NUL byte (is this an INI file?)");
    check_comment(line, where);
    const std::string_view content = trimmed(std::string_view(line).substr(0, line.find('#')));
    if (content.size() >= 2 && content.front() == '[' && content.back() == ']') {
      section = trimmed(content.substr(1, content.size() - 2));
      require(!section.empty(), where, ": an empty section name");
    } else {
      apply_line(section, line, settings, where);
    }
  }
  require(in.eof(), name, ": reading failed");
}

std::string ini_of(const Settings& settings) {
  std::string text, section;
  for (const auto& row : settings.all()) {
    const size_t dot = row.key.find('.');
    const std::string of = row.key.substr(0, dot == std::string::npos ? 0 : dot);
    if (of != section) text += (text.empty() ? "[" : "\n[") + of + "]\n";
    section = of;
    const std::string value = row.show();
    text += row.key.substr(of.empty() ? 0 : dot + 1) + " =" + (value.empty() ? "" : " ") +
            (needs_quotes(value) ? quoted(value) : value) + "\n";
  }
  return text;
}

}  // namespace orrery::cli
