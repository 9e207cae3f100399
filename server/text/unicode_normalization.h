// Normal forms and lower case, with the code points that Hugging Face's tokenizers know of.
#ifndef TIDAL_SERVER_TEXT_UNICODE_NORMALIZATION_H_
#define TIDAL_SERVER_TEXT_UNICODE_NORMALIZATION_H_

#include <string>
#include <string_view>

namespace tidal {

// Unicode Standard Annex 15.
enum class NormalForm { kNfc, kNfd, kNfkc, kNfkd };

// `text` is valid UTF-8. Of Unicode 9, as in that library: later code points stay as they are.
std::string ToNormalForm(std::string_view text, NormalForm form);

// `text` is valid UTF-8. Each code point by itself, whatever surrounds it; of Unicode 17.
std::string ToLowercase(std::string_view text);

}  // namespace tidal

#endif  // TIDAL_SERVER_TEXT_UNICODE_NORMALIZATION_H_
