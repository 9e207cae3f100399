#include "kernels/cuda/step_graphs.h"

namespace tidal::cuda {

StepGraphs::~StepGraphs() {
  for (const auto& [key, graph] : graphs_) cudaGraphExecDestroy(graph);
}

bool StepGraphs::Run(GraphKey key) {
  const auto found = graphs_.find(key);
  if (found == graphs_.end()) return false;
  context_.Check(cudaGraphLaunch(found->second, context_.stream), "graph launch");
  return true;
}

void StepGraphs::Begin(GraphKey key) {
  key_ = key;
  failure_ = {};
  Try(cudaStreamBeginCapture(context_.stream, cudaStreamCaptureModeThreadLocal), "graph capture");
}

std::string StepGraphs::End(const std::function<bool(bool)>& all_recorded) {
  cudaGraph_t graph = nullptr;
  cudaGraphExec_t executable = nullptr;
  const bool recorded = failure_.empty() &&
                        Try(cudaStreamEndCapture(context_.stream, &graph), "graph capture") &&
                        Try(cudaGraphInstantiate(&executable, graph, 0), "graph instantiation");
  if (graph != nullptr) cudaGraphDestroy(graph);
  if (all_recorded(recorded) && recorded) {
    graphs_[key_] = executable;
    context_.Check(cudaGraphLaunch(executable, context_.stream), "graph launch");
  } else if (recorded) {
    cudaGraphExecDestroy(executable);
    failure_ = "another rank could not record it";
  }
  return failure_;
}

// What cannot be recorded can still be run.
bool StepGraphs::Try(cudaError_t status, const char* what) {
  if (status == cudaSuccess) return true;
  failure_ = std::string(what) + ": " + cudaGetErrorName(status);
  cudaGetLastError();  // forgets it
  return false;
}

}  // namespace tidal::cuda
