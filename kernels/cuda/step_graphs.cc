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
  recording_ = context_.Check(
      cudaStreamBeginCapture(context_.stream, cudaStreamCaptureModeThreadLocal), "graph capture");
}

void StepGraphs::End() {
  if (!recording_) return;
  recording_ = false;
  cudaGraph_t graph = nullptr;
  if (!context_.Check(cudaStreamEndCapture(context_.stream, &graph), "graph capture")) return;
  cudaGraphExec_t executable = nullptr;
  if (context_.Check(cudaGraphInstantiate(&executable, graph, 0), "graph instantiation")) {
    graphs_[key_] = executable;
    context_.Check(cudaGraphLaunch(executable, context_.stream), "graph launch");
  }
  cudaGraphDestroy(graph);
}

}  // namespace tidal::cuda
