#include "engine/model/rope_table.h"

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <numbers>

namespace tidal {
namespace {

double DynamicTheta(int32_t max_positions, int32_t head_dim, const RopeConfig& rope) {
  const double length = std::max(max_positions, rope.original_length);
  const double stretch = rope.factor * length / rope.original_length - (rope.factor - 1);
  return rope.theta * std::pow(stretch, head_dim / (head_dim - 2.0));
}

// Between the two limits the kept and the stretched frequency are mixed, in proportion to how often
// the wavelength fits into the original length.
double Llama3Frequency(double frequency, const RopeConfig& rope) {
  const double turns = rope.original_length * frequency / (2 * std::numbers::pi);
  const double kept = std::clamp(
      (turns - rope.low_freq_factor) / (rope.high_freq_factor - rope.low_freq_factor), 0.0, 1.0);
  return frequency * (kept + (1 - kept) / rope.factor);
}

// The same with a ramp over the pairs, from the one that makes `beta_fast` turns over the original
// length to the one that makes `beta_slow`.
class YarnRamp {
 public:
  YarnRamp(int32_t head_dim, const RopeConfig& rope) : factor_(rope.factor) {
    const auto pair_of = [&](double turns) {
      return head_dim * std::log(rope.original_length / (turns * 2 * std::numbers::pi)) /
             (2 * std::log(rope.theta));
    };
    low_ = pair_of(rope.beta_fast);
    high_ = pair_of(rope.beta_slow);
    if (rope.truncate) {
      low_ = std::floor(low_);
      high_ = std::ceil(high_);
    }
    low_ = std::max(low_, 0.0);
    high_ = std::min(high_, head_dim - 1.0);
    if (low_ == high_) high_ += 0.001;  // a step
  }
  double Frequency(double frequency, int32_t pair) const {
    const double stretched = std::clamp((pair - low_) / (high_ - low_), 0.0, 1.0);
    return frequency * (1 - stretched + stretched / factor_);
  }

 private:
  double factor_, low_, high_;
};

}  // namespace

std::vector<double> RopeFrequencies(int32_t max_positions, int32_t head_dim,
                                    const RopeConfig& rope) {
  const double theta =
      rope.type == RopeType::kDynamic ? DynamicTheta(max_positions, head_dim, rope) : rope.theta;
  const int32_t half = head_dim / 2;
  std::vector<double> frequency(half);
  for (int32_t i = 0; i < half; ++i) frequency[i] = std::pow(theta, -2.0 * i / head_dim);
  switch (rope.type) {
    case RopeType::kLinear:
      for (double& f : frequency) f /= rope.factor;
      break;
    case RopeType::kLlama3:
      for (double& f : frequency) f = Llama3Frequency(f, rope);
      break;
    case RopeType::kYarn: {
      const YarnRamp ramp(head_dim, rope);
      for (int32_t i = 0; i < half; ++i) frequency[i] = ramp.Frequency(frequency[i], i);
      break;
    }
    case RopeType::kDefault:
    case RopeType::kDynamic:  // in theta
      break;
  }
  return frequency;
}

std::vector<float> MakeRopeTable(int32_t max_positions, int32_t head_dim, const RopeConfig& rope) {
  const int32_t half = head_dim / 2;
  const std::vector<double> frequency = RopeFrequencies(max_positions, head_dim, rope);
  std::vector<float> table(static_cast<size_t>(max_positions) * head_dim);
  for (int32_t position = 0; position < max_positions; ++position) {
    float* row = table.data() + static_cast<size_t>(position) * head_dim;
    for (int32_t i = 0; i < half; ++i) {
      const double angle = position * frequency[i];
      row[i] = static_cast<float>(std::cos(angle) * rope.attention_factor);
      row[half + i] = static_cast<float>(std::sin(angle) * rope.attention_factor);
    }
  }
  return table;
}

}  // namespace tidal
