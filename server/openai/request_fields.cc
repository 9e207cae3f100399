#include "server/openai/request_fields.h"

#include <limits>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "engine/json/json_value.h"
#include "nlohmann/json.hpp"
#include "server/generation/request_limits.h"

namespace tidal {
namespace {

constexpr int64_t kMinInt32 = std::numeric_limits<int32_t>::min();
constexpr int64_t kMaxInt32 = std::numeric_limits<int32_t>::max();

constexpr const char* kUnsupportedAnywhere[] = {"use_beam_search", "prompt_embeds",
                                                "kv_transfer_params", "logits_processors", nullptr};

constexpr size_t kMaxBadKeys = 8;  // that an error names

void ReadLogitBias(JsonFields& fields, v1::Sampling& sampling) {
  const nlohmann::json* bias = fields.Object("logit_bias");
  if (bias == nullptr) return;
  std::vector<std::string> bad_keys;
  for (const auto& [key, value] : bias->items()) {
    uint32_t token = 0;
    if (!absl::SimpleAtoi(key, &token)) {
      if (bad_keys.size() < kMaxBadKeys) bad_keys.push_back(QuoteJson(key));
      continue;
    }
    if (!value.is_number()) {
      return fields.Fail(absl::StrCat("logit_bias[", token, "]"), "a number", value);
    }
    (*sampling.mutable_logit_bias())[token] = value.get<float>();
  }
  if (bad_keys.empty()) return;
  fields.Fail("logit_bias", absl::StrCat("must be an object whose keys are token ids, got ",
                                         absl::StrJoin(bad_keys, ", ")));
}

// Which tokens may come.
void ReadTokenLists(JsonFields& fields, v1::Sampling& sampling) {
  if (auto ids = fields.TokenIds("allowed_token_ids")) {
    if (ids->empty()) fields.Fail("allowed_token_ids", "must have at least one token id");
    sampling.mutable_allowed_token_ids()->Add(ids->begin(), ids->end());
  }
  if (auto words = fields.StringOrStrings("bad_words")) {
    sampling.mutable_bad_words()->Add(words->begin(), words->end());
  }
}

void ReadSampling(JsonFields& fields, v1::Sampling& sampling) {
  if (auto value = fields.Number("temperature")) sampling.set_temperature(*value);
  if (auto value = fields.Integer("top_k", kMinInt32, kMaxInt32)) sampling.set_top_k(*value);
  if (auto value = fields.Number("top_p")) sampling.set_top_p(*value);
  if (auto value = fields.Number("min_p")) sampling.set_min_p(*value);
  if (auto value = fields.Number("repetition_penalty")) sampling.set_repetition_penalty(*value);
  if (auto value = fields.Number("presence_penalty")) sampling.set_presence_penalty(*value);
  if (auto value = fields.Number("frequency_penalty")) sampling.set_frequency_penalty(*value);
  if (auto value = fields.Integer("seed", std::numeric_limits<int64_t>::min(),
                                  std::numeric_limits<int64_t>::max())) {
    sampling.set_seed(static_cast<uint64_t>(*value));
  }
  ReadLogitBias(fields, sampling);
  ReadTokenLists(fields, sampling);
}

void ReadStopping(JsonFields& fields, v1::Stopping& stopping) {
  if (auto value = fields.Unsigned("min_tokens")) stopping.set_min_tokens(*value);
  if (auto value = fields.StringOrStrings("stop")) {
    stopping.mutable_stop()->Add(value->begin(), value->end());
  }
  if (auto value = fields.TokenIds("stop_token_ids")) {
    stopping.mutable_stop_token_ids()->Add(value->begin(), value->end());
  }
  if (auto value = fields.Bool("ignore_eos")) stopping.set_ignore_eos(*value);
  if (auto value = fields.Bool("include_stop_str_in_output")) {
    stopping.set_include_stop_str_in_output(*value);
  }
}

void ReadStreaming(JsonFields& fields, ReplyOptions& reply) {
  reply.stream = fields.Bool("stream").value_or(false);
  const nlohmann::json* object = fields.Object("stream_options");
  if (object == nullptr) return;
  if (!reply.stream) return fields.Fail("stream_options", "must be absent unless stream is true");
  JsonFields options(*object, "stream_options.");
  reply.include_usage = options.Bool("include_usage").value_or(false);
  const bool continuous = options.Bool("continuous_usage_stats").value_or(false);
  reply.continuous_usage_stats = reply.include_usage && continuous;
  fields.Adopt(options.status());
}

// vLLM's; -1 would be the whole vocabulary for each token.
void ReadPromptLogprobs(JsonFields& fields, v1::Output& output, ReplyOptions& reply) {
  const auto value = fields.Integer("prompt_logprobs", kMinInt32, kMaxInt32);
  if (!value) return;
  if (*value < 0) {
    return fields.Fail("prompt_logprobs", "in [0, 20] (all of the vocabulary is not given)",
                       *value);
  }
  if (reply.stream) return fields.Fail("prompt_logprobs", "must be absent where stream is true");
  output.set_prompt_logprobs(static_cast<uint32_t>(*value));
  reply.prompt_logprobs = true;
}

// Of a longer prompt its end is taken, or its beginning.
void ReadTruncation(JsonFields& fields, v1::GenerateRequest& call) {
  if (auto value = fields.Integer("truncate_prompt_tokens", kMinInt32, kMaxInt32)) {
    call.set_truncate_prompt_tokens(*value);
  }
  const auto side = fields.String("truncation_side");
  if (side && *side != "left" && *side != "right") {
    return fields.Fail("truncation_side", R"("left" or "right")", *side);
  }
  call.set_truncate_prompt_end(side == "right");
}

}  // namespace

void ReadAttention(JsonFields& fields, v1::GenerateRequest& call) {
  const nlohmann::json* object = fields.Object("attention");
  if (object == nullptr) return;
  JsonFields attention(*object, "attention.");
  if (auto mode = attention.String("mode")) {
    if (*mode == "auto") {
      call.mutable_attention()->set_mode(v1::ATTENTION_MODE_AUTO);
    } else if (*mode == "full") {
      call.mutable_attention()->set_mode(v1::ATTENTION_MODE_FULL);
    } else if (*mode == "tidal") {
      call.mutable_attention()->set_mode(v1::ATTENTION_MODE_TIDAL);
    } else {
      attention.Fail("mode", R"("auto", "full" or "tidal")", *mode);
    }
  }
  if (auto budget = attention.Unsigned("budget")) call.mutable_attention()->set_budget(*budget);
  fields.Adopt(attention.status());
}

void ReadLogprobTokenIds(JsonFields& fields, v1::Output& output) {
  const auto ids = fields.TokenIds("logprob_token_ids");
  if (!ids) return;
  if (ids->empty()) fields.Fail("logprob_token_ids", "must have at least one token id");
  if (!output.has_logprobs()) {
    fields.Fail("logprob_token_ids", "must be absent where no logprobs are asked for");
  }
  output.mutable_logprob_token_ids()->Add(ids->begin(), ids->end());
}

void RefuseUnsupported(JsonFields& fields, const char* const* names) {
  for (; *names != nullptr; ++names) {
    const nlohmann::json* value = fields.Find(*names);
    if (value == nullptr || *value == false) continue;
    const bool container = value->is_string() || value->is_array() || value->is_object();
    if (container && (value->empty() || *value == "")) continue;
    fields.Fail(*names, "not supported by this server, must be absent");
  }
}

void ReadSharedFields(JsonFields& fields, v1::GenerateRequest& call, OpenAiRequest& request) {
  RefuseUnsupported(fields, kUnsupportedAnywhere);
  if (auto value = fields.String("model")) call.set_model(*value);
  ReadSampling(fields, *call.mutable_sampling());
  ReadStopping(fields, *call.mutable_stopping());
  ReadAttention(fields, call);
  ReadStreaming(fields, request.reply);

  // Checked here, too: the reply has a place for each output before the service sees the request.
  if (auto value = fields.Unsigned("n", 1, kMaxOutputs)) request.reply.n = *value;
  call.set_n(request.reply.n);
  if (auto value = fields.Integer("priority", kMinInt32, kMaxInt32)) call.set_priority(*value);
  if (auto value = fields.String("cache_salt")) call.set_cache_salt(*value);
  if (auto value = fields.String("request_id")) request.request_id = *value;
  fields.String("user");  // accepted for OpenAI's clients; it has no effect
  request.reply.service_tier = fields.String("service_tier").has_value();  // there is one

  v1::Output& output = *call.mutable_output();
  if (auto value = fields.Bool("skip_special_tokens")) output.set_skip_special_tokens(*value);
  if (auto value = fields.Bool("return_token_ids")) output.set_return_token_ids(*value);
  request.reply.return_token_ids = output.return_token_ids();
  if (auto as_ids = fields.Bool("return_tokens_as_token_ids")) {
    request.reply.token_names = *as_ids ? TokenNames::kIds : TokenNames::kTexts;
  }
  ReadPromptLogprobs(fields, output, request.reply);
  ReadTruncation(fields, call);
  output.set_final_only(!request.reply.stream);
}

}  // namespace tidal
