#include "ckpt/manifest.h"

#include <algorithm>
#include <array>
#include <nlohmann/json.hpp>
#include <utility>

#include "base/error.h"
#include "ckpt/digest.h"

namespace orrery {
namespace {

using nlohmann::ordered_json;

constexpr std::string_view kFormat = "orrery checkpoint";
constexpr int64_t kVersion = 1;
constexpr int64_t kMaxBytes = int64_t{1} << 50;  // of a file or a tensor
constexpr size_t kMaxDims = 16;
constexpr size_t kTailBytes = std::string_view(",\"digest\":\"0123456789abcdef\"}\n").size();

struct DtypeName {
  at::ScalarType dtype;
  std::string_view name;  // as in safetensors
};
constexpr std::array<DtypeName, 6> kDtypes = {{{at::kFloat, "F32"},
                                               {at::kBFloat16, "BF16"},
                                               {at::kDouble, "F64"},
                                               {at::kLong, "I64"},
                                               {at::kInt, "I32"},
                                               {at::kByte, "U8"}}};

template <class... Parts>
void sound(bool good, const std::string& where, const Parts&... parts) {
  if (!good) throw Error(text_of(where, ": ", parts..., " (a damaged checkpoint?)"), Exit::bad_data);
}

at::ScalarType dtype_of(const std::string& name, const std::string& where) {
  for (const auto& [dtype, text] : kDtypes)
    if (text == name) return dtype;
  sound(false, where, "unknown dtype ", name);
  return at::kFloat;
}

// nlohmann's get would take a fraction, too, and a number that no integer holds.
int64_t whole(const ordered_json& json, const std::string& where) {
  sound(json.is_number_integer() &&
            (!json.is_number_unsigned() || std::in_range<int64_t>(json.get<uint64_t>())),
        where, json.dump(), " where a whole number belongs");
  return json.get<int64_t>();
}

std::vector<int64_t> wholes(const ordered_json& json, const std::string& where) {
  sound(json.is_array(), where, json.dump(), " where whole numbers belong");
  std::vector<int64_t> out;
  for (const auto& number : json) out.push_back(whole(number, where));
  return out;
}

ordered_json json_of(const ManifestPiece& piece) {
  std::string digests;
  for (const uint64_t digest : piece.digests) digests += hex_of(digest);
  return {piece.file, piece.offset, piece.begin, piece.rows, digests};
}

ManifestPiece piece_of(const ordered_json& json, const std::string& where) {
  ManifestPiece piece{whole(json.at(0), where), whole(json.at(1), where), whole(json.at(2), where),
                      whole(json.at(3), where)};
  const auto& text = json.at(4).get_ref<const std::string&>();
  sound(json.size() == 5 && text.size() % 16 == 0, where, "a piece that is none");
  for (size_t i = 0; i < text.size(); i += 16)
    sound(parse_hex(std::string_view(text).substr(i, 16), piece.digests.emplace_back()), where,
          "a digest that is none");
  return piece;
}

ordered_json json_of(const Manifest& m) {
  ordered_json files = ordered_json::array(), tensors = ordered_json::object(),
               texts = ordered_json::object();
  for (const ManifestFile& f : m.files) files.push_back({f.name, f.bytes, hex_of(f.frame)});
  for (const auto& [name, t] : m.tensors) {
    ordered_json pieces = ordered_json::array();
    for (const ManifestPiece& piece : t.pieces) pieces.push_back(json_of(piece));
    tensors[name] = {{"dtype", stored_dtype_name(t.dtype)}, {"shape", t.shape}, {"pieces", pieces}};
  }
  for (const auto& [name, text] : m.texts) texts[name] = text;
  return {{"format", kFormat}, {"version", kVersion}, {"step", m.step},     {"seed", m.seed},
          {"mesh", m.mesh},    {"files", files},      {"tensors", tensors}, {"texts", texts}};
}

// The types of texts are checked by nlohmann's get, whose exceptions parse_manifest turns into Error.
Manifest manifest_of(const ordered_json& json, const std::string& where) {
  Manifest m;
  sound(json.at("format") == kFormat, where, "not a checkpoint's manifest");
  require(json.at("version") == kVersion, where, ": format version ", json.at("version").dump(),
          ", this program reads ", kVersion, " (written by a newer program?)");
  m.step = whole(json.at("step"), where), m.seed = whole(json.at("seed"), where);
  m.mesh = wholes(json.at("mesh"), where);
  for (const auto& f : json.at("files")) {
    ManifestFile& file = m.files.emplace_back(ManifestFile{f.at(0), whole(f.at(1), where)});
    sound(parse_hex(f.at(2).get_ref<const std::string&>(), file.frame), where, "a digest that is none");
  }
  for (const auto& [name, t] : json.at("tensors").items()) {
    ManifestTensor& tensor = m.tensors[name];
    tensor.dtype = dtype_of(t.at("dtype"), where);
    tensor.shape = wholes(t.at("shape"), where);
    for (const auto& piece : t.at("pieces")) tensor.pieces.push_back(piece_of(piece, where));
  }
  for (const auto& [name, text] : json.at("texts").items()) m.texts[name] = text;
  return m;
}

bool is_plain_name(const std::string& name) {
  constexpr std::string_view kOther = "_.-";
  return !name.empty() && name[0] != '.' && name.size() < 200 &&
         std::all_of(name.begin(), name.end(), [&](unsigned char c) {
           return std::isalnum(c) || kOther.find(static_cast<char>(c)) != kOther.npos;
         });
}

// Zeros count as one, so that no product of some of the sizes overflows.
void check_shape(const ManifestTensor& t, const std::string& where) {
  int64_t bytes = static_cast<int64_t>(c10::elementSize(t.dtype));
  sound(t.shape.size() <= kMaxDims, where, "a tensor of ", t.shape.size(), " dimensions");
  for (const int64_t size : t.shape) {
    sound(size >= 0 && size <= kMaxBytes / bytes, where, "a tensor of impossible size");
    bytes *= std::max<int64_t>(size, 1);
  }
}

struct Extent {
  int64_t begin, end;
};

void check_pieces(const ManifestTensor& t, const Manifest& m, std::vector<std::vector<Extent>>& extents,
                  const std::string& where, Coverage coverage) {
  int64_t next = 0;
  for (const ManifestPiece& p : t.pieces) {
    sound(p.file >= 0 && p.file < static_cast<int64_t>(m.files.size()), where, "a piece in no file");
    const bool gap = coverage == Coverage::whole ? p.begin != next : p.begin < next;
    sound(!gap && p.begin >= 0 && p.rows > 0 && p.rows <= t.rows() - p.begin, where, "rows ", p.begin,
          " and on, wanted ", next, " of ", t.rows());
    next = p.begin + p.rows;
    const int64_t bytes = p.rows * t.row_bytes(), size = m.files[static_cast<size_t>(p.file)].bytes;
    sound(p.offset >= 0 && bytes <= size && p.offset <= size - bytes, where, "a piece beyond its file");
    sound(static_cast<int64_t>(p.digests.size()) == num_digest_blocks(bytes), where, p.digests.size(),
          " digests for ", bytes, " bytes");
    if (bytes > 0) extents[static_cast<size_t>(p.file)].push_back({p.offset, p.offset + bytes});
  }
  sound(coverage == Coverage::part || next == t.rows() || t.bytes() == 0, where, "rows ", next, " to ",
        t.rows(), " are missing");
}

}  // namespace

std::string_view stored_dtype_name(at::ScalarType dtype) {
  for (const auto& [type, name] : kDtypes)
    if (type == dtype) return name;
  fail("checkpoint: cannot store tensors of ", c10::toString(dtype));
}

int64_t ManifestTensor::row_bytes() const {
  int64_t bytes = static_cast<int64_t>(c10::elementSize(dtype));
  for (size_t i = 1; i < shape.size(); ++i) bytes *= shape[i];
  return bytes;
}

std::string manifest_text(const Manifest& manifest) {
  std::string text = json_of(manifest).dump();
  text.pop_back();  // the closing brace
  const std::string digest = hex_of(digest_of(text));
  return text + ",\"digest\":\"" + digest + "\"}\n";
}

Manifest parse_manifest(std::string_view text, const std::string& where, Coverage coverage) {
  sound(text.size() > kTailBytes, where, text.size(), " bytes, which is no manifest");
  const std::string_view body = text.substr(0, text.size() - kTailBytes);
  sound(text.substr(body.size()) == ",\"digest\":\"" + hex_of(digest_of(body)) + "\"}\n", where,
        "its digest does not fit its text");
  try {
    const ordered_json json = ordered_json::parse(std::string(body) + "}");
    Manifest manifest = manifest_of(json, where);
    sound(manifest_text(manifest) == text, where, "not written as this program writes manifests");
    require_sound(manifest, where, coverage);
    return manifest;
  } catch (const nlohmann::json::exception& error) {
    throw Error(text_of(where, ": not a manifest: ", error.what()), Exit::bad_data);
  }
}

void merge_manifest(Manifest& into, const Manifest& part, const std::string& where) {
  sound(into.step == part.step, where, "of step ", part.step, ", wanted ", into.step);
  const auto first = static_cast<int64_t>(into.files.size());
  into.files.insert(into.files.end(), part.files.begin(), part.files.end());
  for (const auto& [name, t] : part.tensors) {
    ManifestTensor& target = into.tensors.try_emplace(name, ManifestTensor{t.dtype, t.shape}).first->second;
    sound(target.dtype == t.dtype && target.shape == t.shape, where, name, ": another dtype or shape");
    for (ManifestPiece piece : t.pieces) {
      piece.file += first;
      target.pieces.push_back(std::move(piece));
    }
  }
  for (auto& [name, t] : into.tensors)
    std::sort(t.pieces.begin(), t.pieces.end(),
              [](const auto& a, const auto& b) { return a.begin < b.begin; });
}

void require_sound(const Manifest& m, const std::string& where, Coverage coverage) {
  sound(m.step >= 0, where, "step ", m.step);
  std::vector<std::string> names;
  for (const ManifestFile& file : m.files) {
    sound(is_plain_name(file.name), where, "a file name with a folder or odd characters");
    sound(file.bytes >= 0 && file.bytes <= kMaxBytes, where, file.name, ": ", file.bytes, " bytes");
    names.push_back(file.name);
  }
  std::sort(names.begin(), names.end());
  sound(std::adjacent_find(names.begin(), names.end()) == names.end(), where, "a file named twice");
  std::vector<std::vector<Extent>> extents(m.files.size());
  for (const auto& [name, t] : m.tensors) {
    check_shape(t, where + ": " + name);
    check_pieces(t, m, extents, where + ": " + name, coverage);
  }
  for (auto& of_file : extents) {
    std::sort(of_file.begin(), of_file.end(), [](const auto& a, const auto& b) { return a.begin < b.begin; });
    for (size_t i = 1; i < of_file.size(); ++i)
      sound(of_file[i - 1].end <= of_file[i].begin, where, "tensors that overlap in a file");
  }
}

}  // namespace orrery
