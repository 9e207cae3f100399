#include "kernels/cuda/library_matmul.h"

#include <algorithm>
#include <cstdint>
#include <string>

namespace tidal::cuda {
namespace {

// The product as the library's column-major matrices: D [out, tokens] = A^T B, with A the weight
// [in, out] and B the activations [in, tokens].
struct Problem {
  explicit Problem(const MatMulProduct& p) {
    const cublasOperation_t transpose = CUBLAS_OP_T;
    ok = cublasLtMatmulDescInit(&operation, CUBLAS_COMPUTE_32F, CUDA_R_32F) ==
             CUBLAS_STATUS_SUCCESS &&
         cublasLtMatmulDescSetAttribute(&operation, CUBLASLT_MATMUL_DESC_TRANSA, &transpose,
                                        sizeof(transpose)) == CUBLAS_STATUS_SUCCESS &&
         cublasLtMatrixLayoutInit(&a, CUDA_R_16BF, p.in_features, p.out_features, p.in_features) ==
             CUBLAS_STATUS_SUCCESS &&
         cublasLtMatrixLayoutInit(&b, CUDA_R_16BF, p.in_features, p.tokens, p.in_features) ==
             CUBLAS_STATUS_SUCCESS &&
         cublasLtMatrixLayoutInit(&d, CUDA_R_32F, p.out_features, p.tokens, p.out_features) ==
             CUBLAS_STATUS_SUCCESS;
    if (ok && p.bias != nullptr) ok = AddBias(p.bias);
  }
  cublasLtMatmulDescOpaque_t operation;
  cublasLtMatrixLayoutOpaque_t a, b, d;
  bool ok;

 private:
  // One float for each row of D, added after everything else.
  bool AddBias(const float* bias) {
    const cublasLtEpilogue_t epilogue = CUBLASLT_EPILOGUE_BIAS;
    const cudaDataType_t type = CUDA_R_32F;
    const auto set = [&](cublasLtMatmulDescAttributes_t attribute, const auto& value) {
      return cublasLtMatmulDescSetAttribute(&operation, attribute, &value, sizeof(value)) ==
             CUBLAS_STATUS_SUCCESS;
    };
    return set(CUBLASLT_MATMUL_DESC_EPILOGUE, epilogue) &&
           set(CUBLASLT_MATMUL_DESC_BIAS_DATA_TYPE, type) &&
           set(CUBLASLT_MATMUL_DESC_BIAS_POINTER, bias);
  }
};

// The largest power of two, up to 256, that divides the address.
uint32_t AlignmentOf(const void* p) {
  const uintptr_t address = reinterpret_cast<uintptr_t>(p) | 256u;
  return static_cast<uint32_t>(address & (~address + 1));
}

}  // namespace

LibraryMatMul::LibraryMatMul(DeviceContext& context) : context_(context) {
  const cublasStatus_t status = cublasLtCreate(&handle_);
  if (status != CUBLAS_STATUS_SUCCESS) {
    handle_ = nullptr;
    if (context_.error.empty()) {
      context_.error = std::string("cuBLASLt: ") + cublasLtGetStatusString(status);
    }
  }
}

LibraryMatMul::~LibraryMatMul() {
  if (handle_ != nullptr) cublasLtDestroy(handle_);
}

void LibraryMatMul::SetWorkspace(void* memory, size_t bytes) {
  workspace_ = memory;
  workspace_bytes_ = bytes;
}

std::vector<LibraryAlgorithm> LibraryMatMul::Candidates(const MatMulProduct& product, int count) {
  std::vector<LibraryAlgorithm> algorithms;
  Problem problem(product);
  cublasLtMatmulPreferenceOpaque_t preference;
  if (handle_ == nullptr || !problem.ok ||
      cublasLtMatmulPreferenceInit(&preference) != CUBLAS_STATUS_SUCCESS) {
    return algorithms;
  }
  const auto set = [&](cublasLtMatmulPreferenceAttributes_t attribute, const auto& value) {
    return cublasLtMatmulPreferenceSetAttribute(&preference, attribute, &value, sizeof(value)) ==
           CUBLAS_STATUS_SUCCESS;
  };
  // More than 16 bytes would tie a cached algorithm to the rows of x and y it was found for.
  constexpr uint32_t kWidestLoad = 16;
  const uint32_t y_alignment = std::min(AlignmentOf(product.y), kWidestLoad);
  if (!set(CUBLASLT_MATMUL_PREF_MAX_WORKSPACE_BYTES, workspace_bytes_) ||
      !set(CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_A_BYTES, AlignmentOf(product.weight)) ||
      !set(CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_B_BYTES,
           std::min(AlignmentOf(product.x), kWidestLoad)) ||
      !set(CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_C_BYTES, y_alignment) ||
      !set(CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_D_BYTES, y_alignment)) {
    return algorithms;
  }
  std::vector<cublasLtMatmulHeuristicResult_t> results(count);
  int found = 0;
  if (cublasLtMatmulAlgoGetHeuristic(handle_, &problem.operation, &problem.a, &problem.b,
                                     &problem.d, &problem.d, &preference, count, results.data(),
                                     &found) != CUBLAS_STATUS_SUCCESS) {
    return algorithms;
  }
  for (int i = 0; i < found; ++i) {
    if (results[i].state == CUBLAS_STATUS_SUCCESS) algorithms.push_back(results[i].algo);
  }
  return algorithms;
}

bool LibraryMatMul::Run(const MatMulProduct& product, const LibraryAlgorithm& algorithm) {
  Problem problem(product);
  if (handle_ == nullptr || !problem.ok) return false;
  const float alpha = 1.0f;
  const float beta = product.accumulate ? 1.0f : 0.0f;
  return cublasLtMatmul(handle_, &problem.operation, &alpha, product.weight, &problem.a, product.x,
                        &problem.b, &beta, product.y, &problem.d, product.y, &problem.d, &algorithm,
                        workspace_, workspace_bytes_, context_.stream) == CUBLAS_STATUS_SUCCESS;
}

}  // namespace tidal::cuda
