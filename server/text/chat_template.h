// A conversation to the prompt its model was trained on.
#ifndef TIDAL_SERVER_TEXT_CHAT_TEMPLATE_H_
#define TIDAL_SERVER_TEXT_CHAT_TEMPLATE_H_

#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"

namespace tidal {

struct ChatTurn {
  std::string role, content, name;
};

struct ChatTemplateInput {
  std::vector<ChatTurn> messages;
  bool add_generation_prompt = true;
  bool continue_final_message = false;  // drop what the template puts after the last content
};

// Thread-safe: constant once made.
class ChatTemplate {
 public:
  virtual ~ChatTemplate() = default;

  // The template of a model folder: chat_template in tokenizer_config.json, else
  // chat_template.jinja. NOT_FOUND when it has none.
  static absl::StatusOr<std::unique_ptr<ChatTemplate>> Load(const std::string& folder);

  // INVALID_ARGUMENT "line 3, column 7: ..." when the template cannot be compiled.
  static absl::StatusOr<std::unique_ptr<ChatTemplate>> Compile(std::string_view source,
                                                               std::string_view bos_token,
                                                               std::string_view eos_token);

  // INVALID_ARGUMENT with the template's own words when it calls raise_exception;
  // RESOURCE_EXHAUSTED when it takes too many steps or makes too much text.
  virtual absl::StatusOr<std::string> Render(const ChatTemplateInput& input) const = 0;
};

}  // namespace tidal

#endif  // TIDAL_SERVER_TEXT_CHAT_TEMPLATE_H_
