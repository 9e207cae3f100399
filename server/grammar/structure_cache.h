// What came of structural tags that were compiled, refusals too, the least recently wanted thrown
// away first.
#ifndef TIDAL_SERVER_GRAMMAR_STRUCTURE_CACHE_H_
#define TIDAL_SERVER_GRAMMAR_STRUCTURE_CACHE_H_

#include <cstdint>
#include <list>
#include <string>

#include "absl/container/flat_hash_map.h"
#include "absl/strings/string_view.h"
#include "server/grammar/grammar_compiler.h"

namespace tidal {

// Not thread-safe.
class StructureCache {
 public:
  using Result = GrammarCompiler::Result;

  explicit StructureCache(int64_t max_bytes) : max_bytes_(max_bytes) {}

  // Null: not known. Good until the next Put().
  const Result* Find(const std::string& tag) {
    const auto found = places_.find(tag);
    if (found == places_.end()) return nullptr;
    entries_.splice(entries_.begin(), entries_, found->second);
    return &entries_.front().result;
  }

  // `bytes`: of the structure, besides the tag. Precondition: the tag is not known.
  void Put(const std::string& tag, Result result, int64_t bytes) {
    entries_.push_front({tag, std::move(result), bytes + static_cast<int64_t>(tag.size())});
    places_[entries_.front().tag] = entries_.begin();
    bytes_ += entries_.front().bytes;
    while (bytes_ > max_bytes_ && entries_.size() > 1) {
      bytes_ -= entries_.back().bytes;
      places_.erase(entries_.back().tag);
      entries_.pop_back();
    }
  }

  size_t size() const { return entries_.size(); }
  int64_t bytes() const { return bytes_; }

 private:
  struct Entry {
    std::string tag;
    Result result;
    int64_t bytes;
  };

  const int64_t max_bytes_;
  int64_t bytes_ = 0;
  std::list<Entry> entries_;  // the one wanted last comes first
  absl::flat_hash_map<absl::string_view, std::list<Entry>::iterator> places_;
};

}  // namespace tidal

#endif  // TIDAL_SERVER_GRAMMAR_STRUCTURE_CACHE_H_
