#include "cli/subject.h"

#include <memory>
#include <utility>

#include "cli/loopback_server.h"

namespace lockstep::cli {

parity::Subject subject_of(const ModelOptions& options) {
  parity::Subject subject;
  const auto in_dtype = [&options](DType dtype, bool quiet) {
    ModelOptions one = options;
    one.dtype = std::string(dtype_name(dtype));
    one.quiet = quiet;
    return one;
  };
  subject.folder = ModelFiles::open(options.model).folder;
  auto said = std::make_shared<bool>(options.quiet);
  subject.open = [in_dtype, said](DType dtype) {
    const bool quiet = std::exchange(*said, true);
    return in_dtype(dtype, quiet).open();
  };
  subject.start = [in_dtype](Model model, const PipelineOptions& sizes) {
    return in_dtype(DType::kFloat32, true).start(std::move(model), sizes);
  };
  return subject;
}

void make_servable(parity::Subject& subject, const std::string& name) {
  subject.serve = [&subject, name](DType dtype) -> std::unique_ptr<parity::RunningServer> {
    serve::ServedModel served = serve::ServedModel::open(subject.folder, "");
    served.root = name;
    served.names = {name};
    return std::make_unique<LoopbackServer>(subject, dtype, std::move(served));
  };
}

}  // namespace lockstep::cli
