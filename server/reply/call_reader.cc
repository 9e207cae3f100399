#include "server/reply/call_reader.h"

#include "server/reply/json_call_reader.h"
#include "server/reply/named_call_reader.h"
#include "server/reply/python_call_reader.h"
#include "server/reply/tagged_call_reader.h"

namespace tidal {

std::unique_ptr<CallReader> MakeCallReader(const CallFormat* format, const ArgumentTypes* types,
                                           const SpecialMarkers* special, CallSink* sink) {
  switch (format->syntax) {
    case CallSyntax::kJson:
      break;
    case CallSyntax::kNamed:
      return std::make_unique<NamedCallReader>(format, special, sink);
    case CallSyntax::kTagged:
      return std::make_unique<TaggedCallReader>(format, types, special, sink);
    case CallSyntax::kPython:
      return std::make_unique<PythonCallReader>(format, special, sink);
  }
  return std::make_unique<JsonCallReader>(format, special, sink);
}

}  // namespace tidal
