#include "ckpt/checkpoint_reader.h"

#include <ATen/ops/empty.h>
#include <fcntl.h>

#include <algorithm>
#include <cstring>

#include "base/error.h"
#include "ckpt/digest.h"
#include "ckpt/file_io.h"

namespace orrery {
namespace {

namespace fs = std::filesystem;
constexpr int64_t kMaxManifestBytes = int64_t{1} << 30;

struct Span {
  std::string name;
  int64_t bytes;
  const ManifestPiece* piece;
};

// The pieces of each file.
std::vector<std::vector<Span>> spans_of(const Manifest& manifest) {
  std::vector<std::vector<Span>> spans(manifest.files.size());
  for (const auto& [name, t] : manifest.tensors)
    for (const ManifestPiece& piece : t.pieces)
      spans[static_cast<size_t>(piece.file)].push_back({name, piece.rows * t.row_bytes(), &piece});
  return spans;
}

void verify_span(const OpenFile& file, const Span& span, const std::string& where,
                 std::vector<std::string>& problems) {
  size_t block = 0;
  file.for_each_part(span.piece->offset, span.piece->offset + span.bytes, [&](std::string_view part) {
    if (digest_of(part) != span.piece->digests[block])
      problems.push_back(text_of(where, ": ", span.name, ": bytes ",
                                 span.piece->offset + static_cast<int64_t>(block) * kDigestBlockBytes, " to ",
                                 span.piece->offset + static_cast<int64_t>(block) * kDigestBlockBytes +
                                     static_cast<int64_t>(part.size()),
                                 " do not have their digest"));
    ++block;
  });
}

uint64_t frame_of(const OpenFile& file, const std::vector<Span>& spans) {
  std::vector<std::pair<int64_t, int64_t>> data;
  for (const Span& span : spans) data.emplace_back(span.piece->offset, span.piece->offset + span.bytes);
  DigestStream digest;
  for_each_gap(std::move(data), file.size(), [&](int64_t begin, int64_t end) {
    file.for_each_part(begin, end, [&](std::string_view part) { digest.add(part); });
  });
  return digest.value();
}

void verify_file(const fs::path& path, const ManifestFile& stored, const std::vector<Span>& spans,
                 std::vector<std::string>& problems) {
  const OpenFile file(path, O_RDONLY);
  for (const Span& span : spans) verify_span(file, span, path.string(), problems);
  if (frame_of(file, spans) != stored.frame)
    problems.push_back(path.string() + ": bytes outside its tensors do not have their digest");
}

}  // namespace

Manifest read_manifest(const fs::path& folder) {
  const fs::path path = folder / kManifestName;
  if (!fs::is_regular_file(path))
    throw Error(text_of(folder.string(), ": not a complete checkpoint: it has no ", kManifestName),
                Exit::bad_data);
  return parse_manifest(read_whole(path, kMaxManifestBytes), path.string(), Coverage::whole);
}

Checkpoint::Checkpoint(const fs::path& folder) : folder_(folder), manifest_(read_manifest(folder)) {
  for (const ManifestFile& stored : manifest_.files) {
    std::error_code error;
    const auto bytes = fs::file_size(folder / stored.name, error);
    if (error)
      throw Error(text_of((folder / stored.name).string(), ": missing (", error.message(), ")"),
                  Exit::bad_data);
    if (bytes != static_cast<uint64_t>(stored.bytes))
      throw Error(text_of((folder / stored.name).string(), ": has ", bytes, " bytes, its manifest says ",
                          stored.bytes),
                  Exit::bad_data);
  }
  files_.resize(manifest_.files.size());
}

Checkpoint::~Checkpoint() = default;
Checkpoint::Checkpoint(Checkpoint&&) noexcept = default;
Checkpoint& Checkpoint::operator=(Checkpoint&&) noexcept = default;

const OpenFile& Checkpoint::file(int64_t number) const {
  auto& file = files_[static_cast<size_t>(number)];
  if (!file)
    file = std::make_unique<OpenFile>(folder_ / manifest_.files[static_cast<size_t>(number)].name, O_RDONLY);
  return *file;
}

// Bytes [begin, end) of the piece, block by block: whole blocks go straight to their place.
void Checkpoint::read_piece(const std::string& name, const ManifestPiece& piece, int64_t begin, int64_t end,
                            char* to) const {
  const int64_t size = piece.rows * manifest_.tensors.at(name).row_bytes();
  std::vector<char> partial;
  for (int64_t block = begin / kDigestBlockBytes; block * kDigestBlockBytes < end; ++block) {
    const int64_t from = block * kDigestBlockBytes, until = std::min(from + kDigestBlockBytes, size);
    const bool is_whole = from >= begin && until <= end;
    if (!is_whole) partial.resize(static_cast<size_t>(until - from));
    char* const target = is_whole ? to + (from - begin) : partial.data();
    file(piece.file).read_at(target, until - from, piece.offset + from);
    bytes_read_ += until - from;
    if (digest_of({target, static_cast<size_t>(until - from)}) != piece.digests[static_cast<size_t>(block)])
      throw Error(text_of((folder_ / manifest_.files[static_cast<size_t>(piece.file)].name).string(), ": ",
                          name, ": bytes ", piece.offset + from, " to ", piece.offset + until,
                          " do not have their digest (damaged on disk?)"),
                  Exit::bad_data);
    if (is_whole) continue;
    const int64_t first = std::max(begin, from), last = std::min(end, until);
    std::memcpy(to + (first - begin), partial.data() + (first - from), static_cast<size_t>(last - first));
  }
}

at::Tensor Checkpoint::rows(const std::string& name, int64_t begin, int64_t end) const {
  const auto found = manifest_.tensors.find(name);
  require(found != manifest_.tensors.end(), folder_.string(), ": has no ", name);
  const ManifestTensor& t = found->second;
  require(0 <= begin && begin <= end && end <= t.rows(), folder_.string(), ": ", name, ": rows ", begin,
          " to ", end, " of ", t.rows());
  std::vector<int64_t> shape = t.shape;
  if (!shape.empty()) shape[0] = end - begin;
  at::Tensor out = at::empty(shape, at::dtype(t.dtype));
  const int64_t row_bytes = t.row_bytes();
  char* const to = static_cast<char*>(out.data_ptr());
  for (const ManifestPiece& piece : t.pieces) {
    const int64_t first = std::max(begin, piece.begin), last = std::min(end, piece.begin + piece.rows);
    if (first >= last || row_bytes == 0) continue;
    read_piece(name, piece, (first - piece.begin) * row_bytes, (last - piece.begin) * row_bytes,
               to + (first - begin) * row_bytes);
  }
  return out;
}

at::Tensor Checkpoint::tensor(const std::string& name) const {
  return rows(name, 0, contains(name) ? manifest_.tensors.at(name).rows() : 0);
}

std::vector<std::string> verify_checkpoint(const fs::path& folder, int share, int shares) {
  std::vector<std::string> problems;
  try {
    const Checkpoint checkpoint(folder);
    const Manifest& manifest = checkpoint.manifest();
    const auto spans = spans_of(manifest);
    for (size_t i = static_cast<size_t>(share); i < manifest.files.size(); i += static_cast<size_t>(shares))
      verify_file(folder / manifest.files[i].name, manifest.files[i], spans[i], problems);
  } catch (const Error& error) {
    problems.push_back(error.what());
  }
  return problems;
}

ManifestFile stored_file(const fs::path& path) {
  const OpenFile file(path, O_RDONLY);
  return {path.filename().string(), file.size(), frame_of(file, {})};
}

}  // namespace orrery
