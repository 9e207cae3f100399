// A conversation to the prompt its model was trained on.
#ifndef TIDAL_SERVER_TEXT_CHAT_TEMPLATE_H_
#define TIDAL_SERVER_TEXT_CHAT_TEMPLATE_H_

#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"
#include "server/text/jinja/value.h"

namespace tidal {

// One message. What a template sees of it is what vLLM shows it.
struct ChatTurn {
  std::string role;                  // "developer" is "system" to templates that do not know it
  std::vector<std::string> content;  // the texts of its parts, one or more; none: no content
  std::string name = {};
  std::string reasoning = {};     // what the assistant thought before it said the content
  std::string tool_call_id = {};  // the call that the content is the result of
  std::vector<jinja::Value> tool_calls = {};  // dicts, in OpenAI's form, arguments as values
};

struct ChatTemplateInput {
  std::vector<ChatTurn> messages;
  std::vector<jinja::Value> tools = {}, documents = {};  // dicts
  jinja::Dict variables = {};  // further ones, by name; before the special tokens
  bool add_generation_prompt = true;
  bool continue_final_message = false;  // drop what the template puts after the last content
};

// Thread-safe: constant once made.
class ChatTemplate {
 public:
  virtual ~ChatTemplate() = default;

  // The templates of a model folder (chat_template_files.h): "tool_use" where there are tools and
  // the model has one, else "default". `replacement`, a file or the text of a template, stands in
  // for all of them. NOT_FOUND when the model has none; INVALID_ARGUMENT "file: line 3, column 7:
  // ..." when one cannot be compiled.
  static absl::StatusOr<std::unique_ptr<ChatTemplate>> Load(const std::string& folder,
                                                            const std::string& replacement = "");

  // INVALID_ARGUMENT "line 3, column 7: ..." when the template cannot be compiled.
  static absl::StatusOr<std::unique_ptr<ChatTemplate>> Compile(std::string_view source,
                                                               std::string_view bos_token,
                                                               std::string_view eos_token);

  // INVALID_ARGUMENT with the template's own words when it calls raise_exception;
  // RESOURCE_EXHAUSTED when it takes too many steps or makes too much text; FAILED_PRECONDITION
  // when there is no last message to continue, or the template drops it.
  virtual absl::StatusOr<std::string> Render(const ChatTemplateInput& input) const = 0;

  // The text of all templates it was loaded from.
  virtual const std::string& source() const = 0;
};

}  // namespace tidal

#endif  // TIDAL_SERVER_TEXT_CHAT_TEMPLATE_H_
