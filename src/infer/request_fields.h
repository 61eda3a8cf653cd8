#pragma once
// The fields of a film request: name, help and how each is read. Behind requests.h.
#include <span>

#include "infer/requests.h"

namespace orrery {

struct FieldSource {
  const LinedJson& value;
  std::filesystem::path folder;  // that paths are relative to
};

struct RequestField {
  std::string_view name;
  // Throws Error that says what was got and wanted, without the field's name.
  void (*read)(const FieldSource& source, FilmRequest& into);
  std::string_view help;
};

std::span<const RequestField> request_fields();
const RequestField* find_request_field(std::string_view name);  // null: unknown

std::string_view name_of(InferenceType type);

}  // namespace orrery
