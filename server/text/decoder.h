// From tokens to text, as the decoder of a tokenizer.json says, a token at a time.
#ifndef TIDAL_SERVER_TEXT_DECODER_H_
#define TIDAL_SERVER_TEXT_DECODER_H_

#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <variant>
#include <vector>

#include "server/text/pattern.h"

namespace tidal {

// Steps one after the other, from a list of elements to another; the elements are tokens at first.
// Thread-safe: constant once built.
class Decoder {
 public:
  // Bytes become one element of valid text, with U+FFFD for what is broken.
  struct Utf8 {};
  // All elements become one.
  struct Fuse {};
  // A space comes before every element but the first.
  struct Spaces {};
  // `mark` becomes a space, or in the first element nothing if `prepended`.
  struct Metaspace {
    std::string mark;
    bool prepended;
  };
  // `suffix` becomes a space, or in the last element nothing.
  struct WordEnd {
    std::string suffix;
  };
  // <0xE2> and the like become the text of their bytes, or U+FFFD each where that is not valid.
  struct ByteFallback {};
  // Up to so many times `content`, one code point, are removed at the ends of each element.
  struct Strip {
    std::string content;
    size_t left, right;
  };
  struct Replace {
    Pattern pattern;
    std::string content;
  };
  using Step = std::variant<Utf8, Fuse, Spaces, Metaspace, WordEnd, ByteFallback, Strip, Replace>;

  // Utf8 and Spaces come first; Replace, WordEnd and ByteFallback not after Utf8 or Fuse.
  void Add(Step step) { steps_.push_back(std::move(step)); }
  const std::vector<Step>& steps() const { return steps_; }

  // Whether the tokens to decode are bytes rather than text.
  bool takes_bytes() const { return !steps_.empty() && std::holds_alternative<Utf8>(steps_[0]); }
  // What a token adds to a text, between other tokens; a part of a code point perhaps.
  std::string TokenBytes(std::string_view token) const;

 private:
  std::vector<Step> steps_;
};

class DecodeStage;

// One text that is being decoded. Not thread-safe; the decoder outlives it.
class Decoding {
 public:
  explicit Decoding(const Decoder& decoder);
  ~Decoding();

  // The text that this token completes, valid UTF-8; may be empty.
  std::string Append(std::string_view token);
  // What is left when no more tokens come.
  std::string Finish();

 private:
  std::string text_;                                  // what the stages gave out
  std::vector<std::unique_ptr<DecodeStage>> stages_;  // each gives to the one before it
};

}  // namespace tidal

#endif  // TIDAL_SERVER_TEXT_DECODER_H_
