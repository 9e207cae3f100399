// The output of a response: its items as they grow, and the events that say so.
#ifndef TIDAL_SERVER_RESPONSES_RESPONSE_OUTPUT_H_
#define TIDAL_SERVER_RESPONSES_RESPONSE_OUTPUT_H_

#include <deque>
#include <string>

#include "nlohmann/json_fwd.hpp"
#include "proto/tidal/v1/inference.pb.h"
#include "server/responses/response_events.h"
#include "server/responses/response_item.h"
#include "server/responses/responses_request.h"

namespace tidal {

// Items come one after the other: each ends before the next begins, and has the same index and id
// in all of its events and in the end. Of a delta there come first what goes on with the call
// before, then reasoning, then text, then new calls. Not thread-safe.
class ResponseOutput {
 public:
  // `options` outlives it. Ids of items are made of `id`. Events are appended to `events`' stream.
  ResponseOutput(const ResponsesOptions* options, std::string id, ResponseEvents* events);

  void OnDelta(const v1::OutputDelta& delta, std::string* out);
  // Nothing comes after it. `complete`: the model has said all that it wanted.
  void Finish(bool complete, std::string* out);
  // Nothing comes after it, and there are no events of the item that has not ended.
  void Break();

  nlohmann::ordered_json Items() const;

 private:
  // The item that goes on, where it is of that kind; null: there is none.
  OutputItem* Open(ItemKind kind);
  OutputItem& Begin(ItemKind kind, std::string* out);
  // The open item of that kind, or a new one, with its content's part.
  OutputItem& ContentItem(ItemKind kind, std::string* out);
  void AddReasoning(const std::string& text, std::string* out);
  void AddMessage(const v1::OutputDelta& delta, std::string* out);
  void AddCall(const v1::ToolCallDelta& piece, std::string* out);
  // To a call.
  void AddArguments(OutputItem& call, const std::string& text, std::string* out);
  void End(const char* status, std::string* out);
  void EndContent(const OutputItem& item, std::string* out);
  void EndCall(OutputItem& call, std::string* out);
  // An event of the item, with more members behind those that all have.
  void Report(const char* type, const OutputItem& item, const nlohmann::ordered_json& more,
              std::string* out);
  void ReportItem(const char* type, const OutputItem& item, nlohmann::ordered_json json,
                  std::string* out);

  const ResponsesOptions* const options_;
  const std::string id_;
  ResponseEvents* const events_;
  std::deque<OutputItem> items_;
  bool is_open_ = false;  // the last of them
};

}  // namespace tidal

#endif  // TIDAL_SERVER_RESPONSES_RESPONSE_OUTPUT_H_
