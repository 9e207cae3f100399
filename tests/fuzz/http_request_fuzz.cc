// libFuzzer entry: no bytes may crash the HTTP parser or make it stand still, and how they are cut
// into pieces changes nothing. The first byte chooses the cut.
#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <string>

#include "server/gateway/router.h"
#include "server/http/request_parser.h"

namespace {

constexpr size_t kMaxHeaderBytes = 2048;
constexpr size_t kMaxBodyBytes = 4096;

using tidal::RequestParser;

void Check(bool condition) {
  if (!condition) __builtin_trap();
}

bool WantsMore(RequestParser::State state) {
  return state == RequestParser::State::kHeader || state == RequestParser::State::kBody;
}

// The state after `bytes`, given to the parser in pieces of at most `piece` bytes.
RequestParser::State Parse(absl::string_view bytes, size_t piece, tidal::HttpRequest* request) {
  RequestParser parser(kMaxHeaderBytes, kMaxBodyBytes);
  std::string buffer;
  while (!bytes.empty() && WantsMore(parser.state())) {
    const size_t size = std::min(piece, bytes.size());
    buffer.append(bytes.data(), size);
    bytes.remove_prefix(size);
    absl::string_view input = buffer;
    parser.Put(&input);
    buffer.erase(0, buffer.size() - input.size());
    Check(!WantsMore(parser.state()) || buffer.size() <= kMaxHeaderBytes + piece);
  }
  if (parser.state() == RequestParser::State::kDone) *request = parser.Release();
  return parser.state();
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  if (size == 0) return 0;
  const absl::string_view bytes(reinterpret_cast<const char*>(data) + 1, size - 1);
  tidal::HttpRequest whole, pieces;
  const RequestParser::State state = Parse(bytes, bytes.size(), &whole);
  const RequestParser::State cut = Parse(bytes, size_t{1} + data[0] % 64, &pieces);
  // Which limit is hit first may depend on the cut; whether the request is whole may not.
  Check((state == RequestParser::State::kDone) == (cut == RequestParser::State::kDone));
  if (state != RequestParser::State::kDone) return 0;
  Check(whole.method == pieces.method && whole.path == pieces.path && whole.body == pieces.body);
  Check(whole.body.size() <= kMaxBodyBytes);
  if (const auto path = tidal::DecodePath(whole.path); path.ok()) {
    tidal::FindRoute(whole.method, tidal::StripRootPath("/v1", *path));
  }
  return 0;
}
