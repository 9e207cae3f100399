// Runs a fuzz entry without libFuzzer, as an ordinary test: over its corpus, and over seeded
// mutations of it, the same ones in every run.
//
//   replay CORPUS_FOLDER
#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <random>
#include <vector>

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size);

namespace {

using Bytes = std::vector<uint8_t>;

constexpr size_t kMutationsPerInput = 400;
constexpr size_t kMutatedBytesPerInput = 512 << 10;  // a large input gets fewer mutations
constexpr int kRandomInputs = 200;
constexpr size_t kMaxRandomBytes = 512;

void Run(const Bytes& input) {
  // A buffer of exactly this size, so that the address sanitizer sees a read past its end.
  const Bytes copy(input.begin(), input.end());
  LLVMFuzzerTestOneInput(copy.data(), copy.size());
}

std::vector<Bytes> ReadCorpus(const std::filesystem::path& folder) {
  std::vector<std::filesystem::path> files;
  std::error_code error;
  for (const auto& entry : std::filesystem::directory_iterator(folder, error)) {
    if (entry.is_regular_file()) files.push_back(entry.path());
  }
  std::sort(files.begin(), files.end());
  std::vector<Bytes> corpus;
  for (const auto& file : files) {
    std::ifstream in(file, std::ios::binary);
    corpus.emplace_back(std::istreambuf_iterator<char>(in), std::istreambuf_iterator<char>());
  }
  return corpus;
}

size_t Below(std::mt19937_64& random, size_t bound) { return random() % bound; }

// One to four small changes: a byte, a bit, a cut, a repeated or a borrowed stretch.
Bytes Mutate(Bytes bytes, const std::vector<Bytes>& corpus, std::mt19937_64& random) {
  const size_t changes = 1 + Below(random, 4);
  for (size_t i = 0; i < changes; ++i) {
    if (bytes.empty()) bytes.push_back(static_cast<uint8_t>(random()));
    const size_t at = Below(random, bytes.size());
    const size_t length = 1 + Below(random, std::min<size_t>(bytes.size() - at, 32));
    switch (random() % 6) {
      case 0:
        bytes[at] = static_cast<uint8_t>(random());
        break;
      case 1:
        bytes[at] ^= static_cast<uint8_t>(1u << (random() % 8));
        break;
      case 2:
        bytes.resize(at);
        break;
      case 3:
        bytes.erase(bytes.begin() + at, bytes.begin() + at + length);
        break;
      case 4: {
        const Bytes stretch(bytes.begin() + at, bytes.begin() + at + length);
        bytes.insert(bytes.begin() + at, stretch.begin(), stretch.end());
        break;
      }
      default: {
        const Bytes& other = corpus[Below(random, corpus.size())];
        if (other.empty()) break;
        const size_t from = Below(random, other.size());
        const size_t count = std::min<size_t>(other.size() - from, length);
        bytes.insert(bytes.begin() + at, other.begin() + from, other.begin() + from + count);
      }
    }
  }
  return bytes;
}

}  // namespace

int main(int argc, char** argv) {
  if (argc != 2) {
    std::fprintf(stderr, "usage: %s CORPUS_FOLDER\n", argv[0]);
    return 2;
  }
  const std::vector<Bytes> corpus = ReadCorpus(argv[1]);
  if (corpus.empty()) {
    std::fprintf(stderr, "%s: no inputs in this folder\n", argv[1]);
    return 1;
  }
  std::mt19937_64 random(20240917);
  Run({});
  for (const Bytes& input : corpus) {
    Run(input);
    const size_t mutations =
        std::min(kMutationsPerInput, kMutatedBytesPerInput / std::max<size_t>(input.size(), 1));
    for (size_t i = 0; i < mutations; ++i) Run(Mutate(input, corpus, random));
  }
  for (int i = 0; i < kRandomInputs; ++i) {
    Bytes input(Below(random, kMaxRandomBytes));
    for (uint8_t& byte : input) byte = static_cast<uint8_t>(random());
    Run(input);
  }
  std::printf("%zu inputs and their mutations\n", corpus.size());
  return 0;
}
