// The one place that calls xgrammar, which throws. Everything comes out as a status.
#ifndef TIDAL_SERVER_GRAMMAR_XGRAMMAR_BORDER_H_
#define TIDAL_SERVER_GRAMMAR_XGRAMMAR_BORDER_H_

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "engine/base/ids.h"
#include "server/grammar/grammar_compiler.h"
#include "server/text/tokenizer.h"

namespace tidal {

// Thread-safe.
class GrammarLibrary {
 public:
  virtual ~GrammarLibrary() = default;

  // INVALID_ARGUMENT "structured_output: must be a grammar that xgrammar takes, got: <its words>".
  virtual absl::StatusOr<std::shared_ptr<const CompiledStructure>> Compile(
      const std::string& structural_tag) = 0;
  // What a token of it costs this thread on average: of some that it allows, chosen at random.
  virtual absl::Duration MeasureTokenTime(const CompiledStructure& structure) = 0;
  virtual int64_t Bytes(const CompiledStructure& structure) const = 0;
};

// `vocab_size`: of the logits.
std::unique_ptr<GrammarLibrary> MakeGrammarLibrary(const Tokenizer& tokenizer, int32_t vocab_size,
                                                   std::vector<TokenId> stop_tokens);

}  // namespace tidal

#endif  // TIDAL_SERVER_GRAMMAR_XGRAMMAR_BORDER_H_
