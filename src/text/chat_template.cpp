#include "text/chat_template.h"

namespace orrery {

std::string chat_of(std::string_view system, std::string_view caption) {
  std::string chat;
  for (const auto& [role, content] : {std::pair{"system", system}, std::pair{"user", caption}})
    chat.append("<|im_start|>").append(role).append("\n").append(content).append("<|im_end|>\n");
  return chat;
}

std::vector<int64_t> chat_ids(const BpeTokenizer& tokenizer, std::string_view chat, int64_t length,
                              int64_t pad_id) {
  std::vector<int64_t> ids = tokenizer.encode(chat);
  ids.resize(static_cast<size_t>(length), pad_id);
  return ids;
}

}  // namespace orrery
