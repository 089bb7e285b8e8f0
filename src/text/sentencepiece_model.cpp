#include "text/sentencepiece_model.h"

#include <fmt/format.h>
#include <sentencepiece_processor.h>

#include <algorithm>
#include <utility>

#include "base/file.h"
#include "lockstep/error.h"
#include "text/json_part.h"

namespace lockstep::text {
namespace {

constexpr std::string_view kDecoder = R"({"type": "Sequence", "decoders": [
  {"type": "Replace", "pattern": {"String": "▁"}, "content": " "}, {"type": "ByteFallback"},
  {"type": "Fuse"}, {"type": "Strip", "content": " ", "start": 1, "stop": 0}]})";

class SentencePieceModel : public Model {
 public:
  explicit SentencePieceModel(const std::filesystem::path& path) {
    const MappedFile file = MappedFile::open(path);
    const std::string bytes(reinterpret_cast<const char*>(file.bytes().data()),
                            file.bytes().size());
    const auto status = processor_.LoadFromSerializedProto(bytes);
    if (!status.ok()) {
      throw Error(
          ErrorCode::kInvalidArgument,
          fmt::format("{}: not a SentencePiece model: {}", path.string(), status.ToString()),
          "the file is damaged; fetch it again");
    }
    before_ = run(kBefore);
  }

  void encode(std::string_view piece, Scratch*, std::vector<int32_t>& ids) const override {
    const std::vector<int> found = run(piece);
    ids.insert(ids.end(), found.begin(), found.end());
  }
  // With something before it that is taken off again, so that no space is put there.
  void encode_inside(std::string_view piece, Scratch*, std::vector<int32_t>& ids) const override {
    const std::vector<int> found = run(std::string(kBefore) + std::string(piece));
    if (found.size() < before_.size() ||
        !std::equal(before_.begin(), before_.end(), found.begin())) {
      encode(piece, nullptr, ids);
      return;
    }
    ids.insert(ids.end(), found.begin() + static_cast<std::ptrdiff_t>(before_.size()), found.end());
  }
  std::optional<int32_t> token_to_id(std::string_view token) const override {
    const int id = processor_.PieceToId({token.data(), token.size()});
    const bool found =
        id >= 0 && id < processor_.GetPieceSize() && processor_.IdToPiece(id) == std::string(token);
    return found ? std::optional<int32_t>(id) : std::nullopt;
  }
  size_t id_limit() const override { return size(); }
  size_t size() const override { return static_cast<size_t>(processor_.GetPieceSize()); }
  std::optional<std::string_view> id_to_token(size_t id) const override {
    return processor_.IdToPiece(static_cast<int>(id));
  }

  std::vector<AddedToken> control_symbols() const {
    std::vector<AddedToken> tokens;
    for (int id = 0; id < processor_.GetPieceSize(); ++id) {
      if (!processor_.IsControl(id)) continue;
      AddedToken token;
      token.content = processor_.IdToPiece(id);
      token.normalized = false;
      token.special = true;
      tokens.push_back(std::move(token));
    }
    return tokens;
  }

 private:
  // A character for private use: no vocabulary has it, so nothing that follows joins it.
  static constexpr std::string_view kBefore = "\xee\x80\x80";

  std::vector<int> run(std::string_view text) const {
    std::vector<int> ids;
    const auto status = processor_.Encode({text.data(), text.size()}, &ids);
    if (!status.ok()) throw Error(ErrorCode::kInternal, status.ToString());
    return ids;
  }

  std::vector<int> before_;
  sentencepiece::SentencePieceProcessor processor_;
};

}  // namespace

SentencePiece load_sentencepiece(const std::filesystem::path& path) {
  auto model = std::make_unique<SentencePieceModel>(path);
  std::vector<AddedToken> tokens = model->control_symbols();
  return {std::move(model), make_decoder(JsonFile(kDecoder, "the decoder of SentencePiece").root()),
          std::move(tokens)};
}

}  // namespace lockstep::text
