#include "server/openai/generative_scoring.h"

#include <cmath>
#include <limits>
#include <memory>
#include <set>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_replace.h"
#include "engine/base/status_macros.h"
#include "engine/json/json_value.h"
#include "nlohmann/json.hpp"
#include "server/openai/json_fields.h"
#include "server/openai/reply_json.h"

namespace tidal {
namespace {

constexpr size_t kMaxItems = 128;  // each is a call of its own

// What both, the query and an item, are: texts, or token ids.
void AppendTo(const v1::GenerateRequest& part, v1::GenerateRequest& call) {
  if (part.has_text()) return call.set_text(call.text() + part.text());
  call.mutable_token_ids()->mutable_ids()->MergeFrom(part.token_ids().ids());
}

// A text or an array of token ids.
v1::GenerateRequest ReadTextOrIds(JsonFields& fields, const std::string& name,
                                  const nlohmann::json& value) {
  v1::GenerateRequest part;
  if (value.is_string()) {
    part.set_text(value.get<std::string>());
  } else if (const auto ids = ToTokenIds(value)) {
    part.mutable_token_ids()->mutable_ids()->Add(ids->begin(), ids->end());
  } else {
    fields.Fail(name, "a string or an array of token ids", value);
  }
  return part;
}

// What all calls share.
v1::GenerateRequest ReadScoringCall(JsonFields& fields, const std::vector<uint32_t>& labels) {
  v1::GenerateRequest call;
  if (auto value = fields.String("model")) call.set_model(*value);
  if (auto value = fields.String("cache_salt")) call.set_cache_salt(*value);
  if (auto value = fields.Integer("priority", std::numeric_limits<int32_t>::min(),
                                  std::numeric_limits<int32_t>::max())) {
    call.set_priority(*value);
  }
  if (auto value = fields.Bool("add_special_tokens")) call.set_add_special_tokens(*value);
  call.set_n(1);
  call.mutable_sampling()->set_temperature(0);
  call.mutable_stopping()->set_max_tokens(1);
  v1::Output& output = *call.mutable_output();
  output.set_final_only(true);
  output.set_logprobs(0);
  output.mutable_logprob_token_ids()->Add(labels.begin(), labels.end());
  return call;
}

void ReadScoredItems(JsonFields& fields, const v1::GenerateRequest& call, ApiRequest& request) {
  const nlohmann::json* query = fields.Find("query");
  if (query == nullptr) return fields.Fail("query", "must be given");
  const nlohmann::json* items = fields.Array("items");
  if (items == nullptr || items->empty() || items->size() > kMaxItems) {
    return fields.Fail("items", absl::StrCat("must be an array of 1 to ", kMaxItems, " items"));
  }
  const bool item_first = fields.Bool("item_first").value_or(false);
  const v1::GenerateRequest asked = ReadTextOrIds(fields, "query", *query);
  for (size_t i = 0; i < items->size(); ++i) {
    const std::string name = absl::StrCat("items[", i, "]");
    const v1::GenerateRequest item = ReadTextOrIds(fields, name, (*items)[i]);
    if (item.has_text() != asked.has_text()) {
      return fields.Fail(name, "must be a string where the query is one, else token ids");
    }
    request.calls.push_back(call);
    AppendTo(item_first ? item : asked, request.calls.back());
    AppendTo(item_first ? asked : item, request.calls.back());
  }
}

}  // namespace

absl::StatusOr<ApiRequest> ReadGenerativeScoring(absl::string_view body) {
  TIDAL_ASSIGN_OR_RETURN(const nlohmann::json json, ParseJsonObject(body));
  JsonFields fields(json);
  ApiRequest request;
  GenerativeScores::Options options;
  options.labels = fields.TokenIds("label_token_ids").value_or(std::vector<uint32_t>());
  if (options.labels.empty()) fields.Fail("label_token_ids", "must have at least one token id");
  options.among_labels = fields.Bool("apply_softmax").value_or(true);
  if (auto value = fields.String("request_id")) request.request_id = *value;
  ReadScoredItems(fields, ReadScoringCall(fields, options.labels), request);
  TIDAL_RETURN_IF_ERROR(fields.status());
  options.num_items = request.calls.size();
  request.make_reply = [options = std::move(options)](const ReplyIdentity& identity) {
    return std::make_unique<GenerativeScores>(options, identity);
  };
  return request;
}

GenerativeScores::GenerativeScores(Options options, const ReplyIdentity& identity)
    : options_(std::move(options)),
      state_({.num_calls = options_.num_items}, "generative-scoring-" + identity.request_id,
             identity.created_seconds),
      logprobs_(options_.num_items) {}

absl::Status GenerativeScores::OnEvent(size_t call, const v1::GenerateResponse& event,
                                       std::string* /*out*/) {
  TIDAL_RETURN_IF_ERROR(state_.Accept(call, event));
  for (const v1::TokenLogprobs& token : event.delta().logprobs()) {
    logprobs_[call].emplace(token.token().token_id(), token.token().logprob());
    for (const v1::Logprob& other : token.top()) {
      logprobs_[call].emplace(other.token_id(), other.logprob());
    }
  }
  return absl::OkStatus();
}

absl::StatusOr<double> GenerativeScores::Score(size_t item) const {
  double sum = 0;
  for (const uint32_t label : std::set<uint32_t>(options_.labels.begin(), options_.labels.end())) {
    const auto found = logprobs_[item].find(label);
    if (found == logprobs_[item].end()) {
      return absl::InternalError(
          absl::StrCat("the service gave no log probability of token ", label));
    }
    sum += std::exp(found->second);
  }
  const double first = std::exp(logprobs_[item].at(options_.labels.front()));
  if (!options_.among_labels) return first;
  return sum > 0 ? first / sum : 0;  // 0: the model takes all of them for impossible
}

absl::Status GenerativeScores::Finish(std::string* out) {
  TIDAL_RETURN_IF_ERROR(state_.CheckComplete());
  Json data = Json::array();
  for (size_t i = 0; i < options_.num_items; ++i) {
    TIDAL_ASSIGN_OR_RETURN(const double score, Score(i));
    data.push_back({{"index", i}, {"object", "score"}, {"score", score}});
  }
  out->append(DumpJson({{"id", state_.id},
                        {"object", "list"},
                        {"created", state_.created},
                        {"model", state_.model},
                        {"data", std::move(data)},
                        {"usage", UsageJson(state_.usage)}}));
  return absl::OkStatus();
}

ApiError GenerativeScores::ErrorOf(const absl::Status& status) const {
  ApiError error = ToApiError(status, {.prompt_field = "items"});
  for (std::string* text : {&error.message, &error.param}) {
    *text = absl::StrReplaceAll(*text, {{"logprob_token_ids", "label_token_ids"}});
  }
  return error;
}

void GenerativeScores::Fail(const ApiError& /*error*/, std::string* /*out*/) {}

}  // namespace tidal
