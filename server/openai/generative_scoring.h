// vLLM's generative scoring: how likely the model goes on with each of some tokens.
#ifndef TIDAL_SERVER_OPENAI_GENERATIVE_SCORING_H_
#define TIDAL_SERVER_OPENAI_GENERATIVE_SCORING_H_

#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "server/openai/api_reply.h"
#include "server/openai/openai_reply.h"

namespace tidal {

// Each item behind the query, or before it, is a call of one token, whose alternatives are the
// labels.
absl::StatusOr<ApiRequest> ReadGenerativeScoring(absl::string_view body);

// One score an item: the probability of the first label.
class GenerativeScores : public ApiReply {
 public:
  struct Options {
    size_t num_items = 1;
    std::vector<uint32_t> labels;  // at least one
    bool among_labels = true;      // the probabilities of the labels add up to 1
  };
  GenerativeScores(Options options, const ReplyIdentity& identity);

  absl::Status OnEvent(size_t call, const v1::GenerateResponse& event, std::string* out) override;
  absl::Status Finish(std::string* out) override;
  ApiError ErrorOf(const absl::Status& status) const override;
  void Fail(const ApiError& error, std::string* out) override;

 private:
  // INTERNAL where a label has no log probability.
  absl::StatusOr<double> Score(size_t item) const;

  const Options options_;
  ReplyState state_;
  std::vector<std::map<uint32_t, double>> logprobs_;  // by item and token
};

}  // namespace tidal

#endif  // TIDAL_SERVER_OPENAI_GENERATIVE_SCORING_H_
