// orrery tokenize: token ids of texts, a JSON object a line in and out.
#include <iostream>

#include "cli/commands.h"
#include "cli/options.h"
#include "infer/lined_json.h"
#include "text/bpe_tokenizer.h"

namespace orrery::cli {
namespace {

std::string text_of_line(const std::string& line) {
  LinedJson object;
  try {
    object = parse_lined_json(line, 1);
  } catch (const JsonProblem& problem) {
    fail("is not a JSON object in UTF-8: ", problem.what);
  }
  require(object.is_object(), "is no JSON object, got: ", object.value.type_name());
  for (const JsonMember& member : object.members) {
    if (member.key != "text") continue;
    const nlohmann::json& text = member.value.value;
    require(text.is_string(), "has a \"text\" that is no string, got: ", text.type_name());
    return text.get<std::string>();
  }
  fail("has no \"text\"");
}

void write_ids(std::ostream& out, const std::vector<int64_t>& ids) {
  out << "{\"ids\":[";
  for (size_t i = 0; i < ids.size(); ++i) out << (i > 0 ? "," : "") << ids[i];
  out << "]}\n";
}

// Lines end at LF alone: a text may hold other line breaks. Blank ones get no answer. Returns how many lines
// are bad.
int64_t tokenize(const BpeTokenizer& tokenizer, std::istream& in, std::ostream& out) {
  int64_t number = 0, bad = 0;
  for (std::string line; std::getline(in, line);) {
    ++number;
    const bool is_blank = line.find_first_not_of(" \t\r") == std::string::npos;
    try {
      if (!is_blank) write_ids(out, tokenizer.encode(text_of_line(line)));
    } catch (const Error& error) {
      ++bad;
      std::cerr << "orrery: line " << number << " " << error.what() << "\n";
    }
    if (in.rdbuf()->in_avail() <= 0) out.flush();  // whoever waits for this answer before the next line
  }
  return bad;
}

}  // namespace

Exit run_tokenize(const std::vector<std::string>& arguments) {
  std::string file;
  Settings settings;
  settings.bind("tokenizer", file, "a tokenizer.json");
  const Usage usage = {.command = "tokenize",
                       .summary = "gives the token ids of texts.",
                       .notes =
                           "Reads lines {\"text\": ...} from standard input and writes a line {\"ids\": "
                           "[...]} for each. Blank\nlines are passed over; others that are not such are "
                           "named on standard error "
                           "and get no answer:\nthe program then ends with 2."};
  const Parsed parsed = parse_arguments(arguments, settings, usage);
  if (parsed.help) {
    std::cout << help_text(settings, usage);
    return Exit::done;
  }
  require(!file.empty(), "tokenize: --tokenizer=FILE is missing (orrery tokenize --help tells more)");
  std::ios::sync_with_stdio(false);
  std::cin.tie(nullptr);
  const int64_t bad = tokenize(BpeTokenizer(file), std::cin, std::cout);
  std::cout.flush();
  require(bad == 0, "tokenize: ", bad, " bad lines");
  require(std::cout.good(), "tokenize: standard output cannot be written");
  return Exit::done;
}

}  // namespace orrery::cli
