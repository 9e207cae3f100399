#include "server/text/split_regex.h"

#include <utility>

#include "server/text/concat.h"
#include "server/text/utf8.h"

#define PCRE2_CODE_UNIT_WIDTH 8
#include <pcre2.h>

namespace tidal {
namespace {

constexpr size_t kJitStackStart = 32 << 10;  // bytes
constexpr size_t kJitStackMax = 1 << 20;
// Steps of one match without the just-in-time compiler; with it, what fits its stack.
constexpr uint32_t kMatchLimit = 50'000'000;

// What a match needs beside the pattern. One per thread; any pattern may use it.
struct Scratch {
  pcre2_match_data* data = pcre2_match_data_create(1, nullptr);
  pcre2_match_context* context = pcre2_match_context_create(nullptr);
  pcre2_jit_stack* stack = pcre2_jit_stack_create(kJitStackStart, kJitStackMax, nullptr);

  Scratch() {
    pcre2_jit_stack_assign(context, nullptr, stack);
    pcre2_set_match_limit(context, kMatchLimit);
  }
  ~Scratch() {
    pcre2_jit_stack_free(stack);
    pcre2_match_context_free(context);
    pcre2_match_data_free(data);
  }
  Scratch(const Scratch&) = delete;
  Scratch& operator=(const Scratch&) = delete;
};

Scratch& ThreadScratch() {
  thread_local Scratch scratch;
  return scratch;
}

std::string ErrorText(int code) {
  PCRE2_UCHAR buffer[160];
  pcre2_get_error_message(code, buffer, sizeof(buffer));
  return reinterpret_cast<const char*>(buffer);
}

}  // namespace

struct SplitRegex::Code {
  pcre2_code* code;
  bool jit;
  explicit Code(pcre2_code* c) : code(c), jit(pcre2_jit_compile(c, PCRE2_JIT_COMPLETE) == 0) {}
  ~Code() { pcre2_code_free(code); }
  Code(const Code&) = delete;
  Code& operator=(const Code&) = delete;
};

absl::StatusOr<SplitRegex> SplitRegex::CompileTranslated(const std::string& pattern) {
  int error = 0;
  PCRE2_SIZE offset = 0;
  pcre2_code* code =
      pcre2_compile(reinterpret_cast<PCRE2_SPTR>(pattern.data()), pattern.size(),
                    PCRE2_UTF | PCRE2_UCP | PCRE2_NO_AUTO_CAPTURE, &error, &offset, nullptr);
  if (code == nullptr) {
    return absl::InvalidArgumentError(Concat(ErrorText(error), " in \"", pattern, "\""));
  }
  return SplitRegex(std::make_shared<const Code>(code));
}

absl::StatusOr<SplitRegex> SplitRegex::Compile(std::string_view pattern) {
  auto translated = TranslateOniguruma(pattern);
  if (!translated.ok()) return translated.status();
  return CompileTranslated(*translated);
}

int SplitRegex::Find(std::string_view text, size_t from, size_t* begin, size_t* end) const {
  Scratch& scratch = ThreadScratch();
  const auto subject = reinterpret_cast<PCRE2_SPTR>(text.data());
  const int rc = code_->jit ? pcre2_jit_match(code_->code, subject, text.size(), from,
                                              PCRE2_NO_UTF_CHECK, scratch.data, scratch.context)
                            : pcre2_match(code_->code, subject, text.size(), from,
                                          PCRE2_NO_UTF_CHECK, scratch.data, scratch.context);
  const PCRE2_SIZE* span = pcre2_get_ovector_pointer(scratch.data);
  *begin = span[0];
  *end = span[1];
  return rc;
}

bool SplitRegex::Matches(std::string_view text) const {
  size_t begin, end;
  return Find(text, 0, &begin, &end) >= 0 && begin == 0 && end == text.size();
}

absl::Status SplitRegex::ForEachMatch(std::string_view text,
                                      absl::FunctionRef<void(size_t, size_t)> match) const {
  size_t last_end = std::string_view::npos;
  for (size_t from = 0; from <= text.size();) {
    size_t begin, end;
    const int rc = Find(text, from, &begin, &end);
    if (rc == PCRE2_ERROR_NOMATCH) break;
    if (rc < 0) {
      return absl::ResourceExhaustedError(Concat("splitting the text: ", ErrorText(rc)));
    }
    if (begin == end && end == last_end) {
      from = end < text.size() ? end + ReadUtf8(text.substr(end)).length : end + 1;
      continue;
    }
    match(begin, end);
    from = last_end = end;
  }
  return absl::OkStatus();
}

}  // namespace tidal
