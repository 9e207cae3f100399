#include "server/text/decode_stages.h"

#include <charconv>
#include <variant>

#include "server/text/utf8.h"

namespace tidal {
namespace {

class OutputStage : public DecodeStage {
 public:
  explicit OutputStage(std::string* text) : text_(text) {}
  void Add(std::string_view part) override { text_->append(part); }
  void EndElement() override {}
  void EndText() override {}

 private:
  std::string* text_;
};

// What most stages do: hand everything on.
class PassingStage : public DecodeStage {
 public:
  explicit PassingStage(DecodeStage* next) : next_(next) {}
  void Add(std::string_view part) override { next_->Add(part); }
  void EndElement() override { next_->EndElement(); }
  void EndText() override { next_->EndText(); }

 protected:
  void Give(std::string_view element) {
    next_->Add(element);
    next_->EndElement();
  }
  DecodeStage* next_;
};

class Utf8Stage : public PassingStage {
 public:
  Utf8Stage(const Decoder::Utf8&, DecodeStage* next) : PassingStage(next) {}
  void Add(std::string_view part) override {
    pending_.append(part);
    Flush(/*keep_incomplete=*/true);
  }
  void EndElement() override {}
  void EndText() override {
    Flush(/*keep_incomplete=*/false);
    next_->EndElement();
    next_->EndText();
  }

 private:
  void Flush(bool keep_incomplete) {
    std::string text;
    pending_.erase(0, AppendLossyUtf8(pending_, keep_incomplete, &text));
    if (!text.empty()) next_->Add(text);
  }
  std::string pending_;  // bytes of an incomplete code point, at most 3
};

class FuseStage : public PassingStage {
 public:
  FuseStage(const Decoder::Fuse&, DecodeStage* next) : PassingStage(next) {}
  void EndElement() override {}
  void EndText() override {
    next_->EndElement();
    next_->EndText();
  }
};

class SpacesStage : public PassingStage {
 public:
  SpacesStage(const Decoder::Spaces&, DecodeStage* next) : PassingStage(next) {}
  void Add(std::string_view token) override {
    if (!first_) next_->Add(" ");
    first_ = false;
    next_->Add(token);
  }

 private:
  bool first_ = true;
};

class MetaspaceStage : public PassingStage {
 public:
  MetaspaceStage(const Decoder::Metaspace& step, DecodeStage* next)
      : PassingStage(next), mark_(Pattern::Literal(step.mark)), prepended_(step.prepended) {}
  void Add(std::string_view part) override {
    // A literal never fails.
    next_->Add(*mark_.ReplaceAll(part, first_ && prepended_ ? "" : " "));
  }
  void EndElement() override {
    first_ = false;
    next_->EndElement();
  }

 private:
  Pattern mark_;
  bool prepended_;
  bool first_ = true;
};

class StripStage : public PassingStage {
 public:
  StripStage(const Decoder::Strip& step, DecodeStage* next)
      : PassingStage(next), step_(step), left_(step.left) {}

  void Add(std::string_view part) override {
    while (!part.empty()) {
      const bool content = part.starts_with(step_.content);
      const std::string_view character = part.substr(0, ReadUtf8(part).length);
      part.remove_prefix(character.size());
      if (content && left_ > 0) {
        --left_;
        continue;
      }
      left_ = 0;
      if (content && held_ < step_.right) {
        ++held_;
        continue;
      }
      for (; !content && held_ > 0; --held_) next_->Add(step_.content);
      next_->Add(character);
    }
  }

  void EndElement() override {
    left_ = step_.left;
    held_ = 0;
    next_->EndElement();
  }

 private:
  const Decoder::Strip& step_;
  size_t left_;      // how many more are removed on the left
  size_t held_ = 0;  // times `content`, which are removed if the element ends here
};

// Stages that look at an element as a whole.
class WholeElementStage : public PassingStage {
 public:
  using PassingStage::PassingStage;
  void Add(std::string_view part) override { element_.append(part); }
  void EndElement() override {
    OnElement(element_);
    element_.clear();
  }

 protected:
  virtual void OnElement(std::string_view element) = 0;

 private:
  std::string element_;
};

class ReplaceStage : public WholeElementStage {
 public:
  ReplaceStage(const Decoder::Replace& step, DecodeStage* next)
      : WholeElementStage(next), step_(step) {}

 private:
  void OnElement(std::string_view element) override {
    const auto replaced = step_.pattern.ReplaceAll(element, step_.content);
    Give(replaced.ok() ? std::string_view(*replaced) : element);  // a pattern may give up
  }
  const Decoder::Replace& step_;
};

class WordEndStage : public WholeElementStage {
 public:
  WordEndStage(const Decoder::WordEnd& step, DecodeStage* next)
      : WholeElementStage(next), suffix_(Pattern::Literal(step.suffix)) {}
  void EndText() override {
    Release("");
    next_->EndText();
  }

 private:
  void OnElement(std::string_view element) override {
    Release(" ");
    const size_t certain = element.find(suffix_.literal());
    if (certain == std::string_view::npos) return Give(element);
    next_->Add(element.substr(0, certain));
    held_ = element.substr(certain);
  }
  void Release(std::string_view end) {
    if (held_.empty()) return;
    Give(*suffix_.ReplaceAll(held_, end));  // a literal never fails
    held_.clear();
  }
  Pattern suffix_;
  std::string held_;  // of the last element, from its first suffix on
};

class ByteFallbackStage : public WholeElementStage {
 public:
  ByteFallbackStage(const Decoder::ByteFallback&, DecodeStage* next) : WholeElementStage(next) {}
  void EndText() override {
    Release();
    next_->EndText();
  }

 private:
  void OnElement(std::string_view element) override {
    if (const auto byte = ParseFallbackToken(element); byte.has_value()) {
      run_.push_back(static_cast<char>(*byte));
      return;
    }
    Release();
    Give(element);
  }
  void Release() {
    if (run_.empty()) return;
    if (!FindInvalidUtf8(run_).has_value()) {
      Give(run_);
    } else {
      for (size_t i = 0; i < run_.size(); ++i) Give("\xEF\xBF\xBD");
    }
    run_.clear();
  }
  std::string run_;  // one byte makes all of a run invalid, so it is held until it ends
};

struct StageMaker {
  DecodeStage* next;

  std::unique_ptr<DecodeStage> operator()(const Decoder::Utf8& step) const {
    return std::make_unique<Utf8Stage>(step, next);
  }
  std::unique_ptr<DecodeStage> operator()(const Decoder::Fuse& step) const {
    return std::make_unique<FuseStage>(step, next);
  }
  std::unique_ptr<DecodeStage> operator()(const Decoder::Spaces& step) const {
    return std::make_unique<SpacesStage>(step, next);
  }
  std::unique_ptr<DecodeStage> operator()(const Decoder::Metaspace& step) const {
    return std::make_unique<MetaspaceStage>(step, next);
  }
  std::unique_ptr<DecodeStage> operator()(const Decoder::WordEnd& step) const {
    return std::make_unique<WordEndStage>(step, next);
  }
  std::unique_ptr<DecodeStage> operator()(const Decoder::ByteFallback& step) const {
    return std::make_unique<ByteFallbackStage>(step, next);
  }
  std::unique_ptr<DecodeStage> operator()(const Decoder::Strip& step) const {
    return std::make_unique<StripStage>(step, next);
  }
  std::unique_ptr<DecodeStage> operator()(const Decoder::Replace& step) const {
    return std::make_unique<ReplaceStage>(step, next);
  }
};

}  // namespace

std::unique_ptr<DecodeStage> MakeOutputStage(std::string* text) {
  return std::make_unique<OutputStage>(text);
}

std::unique_ptr<DecodeStage> MakeDecodeStage(const Decoder::Step& step, DecodeStage* next) {
  return std::visit(StageMaker{next}, step);
}

std::optional<uint8_t> ParseFallbackToken(std::string_view token) {
  if (token.size() != 6 || !token.starts_with("<0x") || !token.ends_with(">")) return std::nullopt;
  std::string_view digits = token.substr(3, 2);
  if (digits[0] == '+') digits.remove_prefix(1);  // as Rust reads numbers
  uint8_t byte = 0;
  const auto [end, error] = std::from_chars(digits.begin(), digits.end(), byte, 16);
  return error == std::errc() && end == digits.end() ? std::optional(byte) : std::nullopt;
}

}  // namespace tidal
