#include "engine/model/attention_profile.h"

#include <limits>
#include <utility>

#include "absl/strings/str_cat.h"
#include "engine/base/status_macros.h"
#include "engine/json/json_file.h"
#include "engine/json/text_file.h"
#include "engine/model/layer_plan.h"
#include "engine/model/published_plans.h"

namespace tidal {
namespace {

constexpr int32_t kMinLayersForPlan = 4;
constexpr int64_t kMaxTokens = 1 << 24;  // any number of tokens in the file

absl::Status ReadInt(const JsonFile& json, const char* field, int64_t min, int64_t max,
                     int32_t* out) {
  TIDAL_ASSIGN_OR_RETURN(const int64_t value, json.Int(field, min, max, *out));
  *out = static_cast<int32_t>(value);
  return absl::OkStatus();
}

absl::Status ReadSelection(const JsonFile& json, SparseAttentionConfig* config) {
  TIDAL_ASSIGN_OR_RETURN(const std::string granularity, json.String("granularity", "shared"));
  if (granularity != "shared" && granularity != "kv_head") {
    return json.Error("granularity", "\"shared\" or \"kv_head\"");
  }
  config->granularity =
      granularity == "shared" ? SelectionGranularity::kShared : SelectionGranularity::kKvHead;
  TIDAL_ASSIGN_OR_RETURN(const std::string score, json.String("score", "softmax_sum"));
  if (score != "softmax_sum" && score != "max_logit") {
    return json.Error("score", "\"softmax_sum\" or \"max_logit\"");
  }
  config->score = score == "softmax_sum" ? SelectionScore::kSoftmaxSum : SelectionScore::kMaxLogit;
  return absl::OkStatus();
}

ResolvedAttention Dense(SparseAttentionConfig config, int32_t num_layers, std::string source) {
  config.pattern = std::string(num_layers, 'D');
  return {std::move(config), std::move(source), /*chosen=*/true};
}

// Where the published schedule selects again, and how we know.
struct Reselection {
  int32_t layer;
  std::string source;
};

Reselection FindReselection(const TidalFile& file, const PublishedPlan* published,
                            int32_t num_layers) {
  if (file.reselection_layer) return {*file.reselection_layer, "tidal.json"};
  if (published != nullptr) {
    return {published->reselection_layer, absl::StrCat("published for ", published->models)};
  }
  return {DefaultReselectionLayer(num_layers), "0.4 of the layers"};
}

absl::Status Unavailable(const std::string& profile, const std::string& must_be) {
  return absl::InvalidArgumentError(
      absl::StrCat("attention_profile: must be ", must_be, ", got \"", profile, "\""));
}

absl::Status TooFewLayers(const std::string& profile) {
  return Unavailable(
      profile, absl::StrCat("\"dense\" for a model of fewer than ", kMinLayersForPlan, " layers"));
}

absl::StatusOr<ResolvedAttention> Paper(SparseAttentionConfig config,
                                        const Reselection& reselection, int32_t num_layers) {
  if (num_layers < kMinLayersForPlan) return TooFewLayers("paper");
  config.pattern = PaperPattern(num_layers, reselection.layer);
  config.granularity = SelectionGranularity::kKvHead;
  config.score = SelectionScore::kMaxLogit;
  config.sinks = 0;
  config.recency_fraction = 0;
  return ResolvedAttention{std::move(config),
                           absl::StrCat("profile paper, re-selection at layer ", reselection.layer,
                                        " (", reselection.source, ")"),
                           /*chosen=*/true};
}

absl::StatusOr<ResolvedAttention> Quality(SparseAttentionConfig config,
                                          const PublishedPlan* published, int32_t num_layers) {
  if (published == nullptr || published->quality_layers.empty()) {
    return Unavailable("quality",
                       "\"default\" or a pattern for a model of this shape: no plan of "
                       "more selecting layers is published for it");
  }
  config.pattern = SelectingPattern(num_layers, published->quality_layers);
  return ResolvedAttention{
      std::move(config),
      absl::StrCat("profile quality, selecting layers published for ", published->models),
      /*chosen=*/true};
}

absl::StatusOr<ResolvedAttention> Published(SparseAttentionConfig config,
                                            const Reselection& reselection, int32_t num_layers) {
  if (num_layers < kMinLayersForPlan) return TooFewLayers("published");
  config.pattern = PaperPattern(num_layers, reselection.layer);
  return ResolvedAttention{std::move(config),
                           absl::StrCat("profile published, shared sets, re-selection at layer ",
                                        reselection.layer, " (", reselection.source, ")"),
                           /*chosen=*/true};
}

// What a model runs with when the operator chose nothing. A tidal.json that does not say where to
// select chooses nothing either.
ResolvedAttention Default(TidalFile file, const Reselection& reselection, bool published,
                          int32_t num_layers) {
  SparseAttentionConfig config = std::move(file.config);
  if (!config.pattern.empty()) return {std::move(config), "tidal.json", /*chosen=*/true};
  if (num_layers < kMinLayersForPlan) {
    return Dense(
        std::move(config), num_layers,
        absl::StrCat("dense: no tidal.json plan, and fewer than ", kMinLayersForPlan, " layers"));
  }
  config.pattern = PaperPattern(num_layers, reselection.layer);
  return {std::move(config),
          absl::StrCat(published ? "no tidal.json plan"
                                 : "fallback: no tidal.json plan for this model, uncalibrated",
                       "; published schedule, shared sets, re-selection at layer ",
                       reselection.layer, " (", reselection.source, ")"),
          /*chosen=*/file.reselection_layer.has_value()};
}

}  // namespace

absl::StatusOr<TidalFile> ParseTidalFile(absl::string_view text, const std::string& file,
                                         int32_t num_layers) {
  TIDAL_ASSIGN_OR_RETURN(const JsonFile json, JsonFile::Parse(text, file));
  TIDAL_RETURN_IF_ERROR(
      json.OnlyKnown({"pattern", "granularity", "score", "sinks", "recency_fraction",
                      "token_budget", "dense_below", "correction_period", "reselection_layer"}));
  TidalFile result;
  SparseAttentionConfig& config = result.config;
  TIDAL_ASSIGN_OR_RETURN(config.pattern, json.String("pattern", ""));
  if (json.Has("pattern")) {
    TIDAL_RETURN_IF_ERROR(
        ParseLayerPlan(config.pattern, num_layers, absl::StrCat(file, ": pattern")).status());
  }
  TIDAL_RETURN_IF_ERROR(ReadSelection(json, &config));
  TIDAL_RETURN_IF_ERROR(ReadInt(json, "sinks", 0, kMaxTokens, &config.sinks));
  TIDAL_RETURN_IF_ERROR(ReadInt(json, "token_budget", 1, kMaxTokens, &config.token_budget));
  TIDAL_RETURN_IF_ERROR(ReadInt(json, "dense_below", 0, kMaxTokens, &config.dense_below));
  TIDAL_RETURN_IF_ERROR(
      ReadInt(json, "correction_period", 0, kMaxTokens, &config.correction_period));
  TIDAL_ASSIGN_OR_RETURN(const double recency,
                         json.Number("recency_fraction", 0, 1, config.recency_fraction));
  config.recency_fraction = static_cast<float>(recency);
  if (json.Has("reselection_layer")) {
    TIDAL_ASSIGN_OR_RETURN(const int64_t layer, json.Int("reselection_layer", 3, num_layers - 1));
    result.reselection_layer = static_cast<int32_t>(layer);
  }
  return result;
}

absl::StatusOr<ResolvedAttention> ResolveAttention(const std::string& profile,
                                                   const std::string& model_path,
                                                   const ModelConfig& model) {
  const int32_t num_layers = model.num_layers;
  const std::string path = model_path + "/tidal.json";
  absl::StatusOr<std::string> text = ReadTextFile(path, 1 << 20);
  if (!text.ok() && !absl::IsNotFound(text.status())) return text.status();
  TidalFile file;
  if (text.ok()) {
    TIDAL_ASSIGN_OR_RETURN(file, ParseTidalFile(*text, path, num_layers));
  }

  const PublishedPlan* published = FindPublishedPlan(model);
  // A tidal.json is all that counts, whatever it leaves out.
  const PublishedPlan* fallback = text.ok() ? nullptr : published;
  const Reselection reselection = FindReselection(file, fallback, num_layers);
  if (profile == "default") {
    return Default(file, reselection, fallback != nullptr, num_layers);
  }
  if (profile == "dense") return Dense(file.config, num_layers, "profile dense");
  if (profile == "paper") return Paper(file.config, reselection, num_layers);
  if (profile == "published") return Published(file.config, reselection, num_layers);
  if (profile == "quality") return Quality(file.config, published, num_layers);
  if (profile.find_first_not_of("DSRA") != std::string::npos) {
    return Unavailable(profile,
                       "\"default\", \"published\", \"quality\", \"paper\", \"dense\" or a pattern "
                       "of D, S, R and A");
  }
  TIDAL_RETURN_IF_ERROR(ParseLayerPlan(profile, num_layers, "attention_profile").status());
  file.config.pattern = profile;
  return ResolvedAttention{file.config, "pattern given", /*chosen=*/true};
}

}  // namespace tidal
