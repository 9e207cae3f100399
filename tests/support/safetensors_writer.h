// Writes safetensors files for tests, right and wrong ones.
#ifndef TIDAL_TESTS_SUPPORT_SAFETENSORS_WRITER_H_
#define TIDAL_TESTS_SUPPORT_SAFETENSORS_WRITER_H_

#include <cstdint>
#include <string>
#include <vector>

namespace tidal {

struct TensorToWrite {
  std::string name;
  std::string type;  // "BF16", "F16", "F32"
  std::vector<int64_t> shape;
  std::vector<float> values;
};

// The bytes of a file whose JSON header and data are these, whatever they say.
std::string SafetensorsBytes(const std::string& header, const std::string& data);

// A correct file.
std::string SafetensorsBytes(const std::vector<TensorToWrite>& tensors);

void WriteFile(const std::string& path, const std::string& bytes);

// An empty folder of its own, removed with the object.
class TempFolder {
 public:
  TempFolder();
  ~TempFolder();
  TempFolder(const TempFolder&) = delete;
  TempFolder& operator=(const TempFolder&) = delete;
  const std::string& path() const { return path_; }

 private:
  std::string path_;
};

}  // namespace tidal

#endif  // TIDAL_TESTS_SUPPORT_SAFETENSORS_WRITER_H_
