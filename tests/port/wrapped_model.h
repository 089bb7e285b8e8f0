// A fixture as the text model of a made-up wrapper: its configuration under text_config, its
// tensors under other names, a little of a vision model beside them, rows beyond the vocabulary.
#pragma once

#include <filesystem>
#include <string>
#include <vector>

#include "../support.h"

namespace lockstep::test {

/// How transformers has stored wrappers.
struct Layout {
  std::string name;
  std::string model, head;     // what "model." and "lm_head." become
  std::string vision, bridge;  // the vision model's and the projector's prefix
};

inline const std::vector<Layout>& wrapper_layouts() {
  static const std::vector<Layout> layouts = {
      {"nested", "model.language_model.", "lm_head.", "model.vision_tower.",
       "model.multi_modal_projector."},
      {"whole", "language_model.model.", "language_model.lm_head.", "vision_tower.",
       "multi_modal_projector."},
      {"flat", "model.", "lm_head.", "visual.", "visual.merger."},
  };
  return layouts;
}

struct WrapOptions {
  std::string class_name;
  int64_t surplus_rows = 16;
  bool with_stored_head = false;  // a tied head stored as well
};

namespace internal {
struct Piece {
  std::string name;
  DType dtype;
  std::vector<int64_t> shape;
  std::vector<std::byte> bytes;
};

inline Piece piece_of(const SafetensorsFile& file, const TensorEntry& entry, std::string name) {
  const View view = file.view(entry);
  const auto* data = view.as<std::byte>();
  return {std::move(name), entry.dtype, entry.shape, {data, data + view.bytes()}};
}

// Rows of a value that would be seen if one of them were used.
inline void add_rows(Piece& piece, int64_t n_rows) {
  const size_t row_bytes = piece.bytes.size() / static_cast<size_t>(piece.shape[0]);
  piece.bytes.resize(piece.bytes.size() + static_cast<size_t>(n_rows) * row_bytes, std::byte{0x47});
  piece.shape[0] += n_rows;
}
}  // namespace internal

/// Writes the wrapper into `folder`, which exists.
inline void write_wrapped(const std::string& fixture_name, const Layout& layout,
                          const WrapOptions& options, const std::filesystem::path& folder) {
  using internal::Piece;
  const SafetensorsFile file = SafetensorsFile::open(fixture(fixture_name) / "model.safetensors");
  std::vector<Piece> pieces;
  for (const TensorEntry& entry : file.tensors()) {
    std::string name = entry.name;
    if (name.starts_with("model.")) {
      name = layout.model + name.substr(6);
    } else if (name.starts_with("lm_head.")) {
      name = layout.head + name.substr(8);
    }
    Piece piece = internal::piece_of(file, entry, name);
    const bool is_embedding = entry.name == "model.embed_tokens.weight";
    if (is_embedding || entry.name == "lm_head.weight") {
      internal::add_rows(piece, options.surplus_rows);
    }
    if (is_embedding && options.with_stored_head) {
      pieces.push_back(piece);
      pieces.back().name = layout.head + "weight";
    }
    pieces.push_back(std::move(piece));
  }
  const std::string in_vision[] = {"embeddings.patch_embedding.weight",
                                   "encoder.layers.0.self_attn.q_proj.weight"};
  for (const std::string& name : in_vision) {
    pieces.push_back({layout.vision + name, DType::kBFloat16, {4, 6}, std::vector<std::byte>(48)});
  }
  pieces.push_back(
      {layout.bridge + "linear_1.weight", DType::kFloat32, {2, 4}, std::vector<std::byte>(32)});

  SafetensorsWriter writer(folder / "model.safetensors");
  for (const Piece& piece : pieces) writer.declare(piece.name, piece.dtype, piece.shape);
  writer.begin();
  for (const Piece& piece : pieces) writer.write(piece.name, 0, piece.bytes);
  writer.commit();

  nlohmann::json text = read_json(fixture(fixture_name) / "config.json");
  nlohmann::json config = {{"architectures", {options.class_name}},
                           {"model_type", "made_up_wrapper"},
                           {"image_token_id", 3},
                           {"vision_config", {{"hidden_size", 6}, {"num_hidden_layers", 1}}}};
  if (text.contains("dtype")) config["dtype"] = text["dtype"];
  if (text.contains("torch_dtype")) config["torch_dtype"] = text["torch_dtype"];
  text.erase("architectures");
  config["text_config"] = text;
  write_text(folder / "config.json", config.dump(2));
  for (const char* name : {"tokenizer.json", "tokenizer_config.json", "chat_template.jinja"}) {
    const std::filesystem::path from = fixture(fixture_name) / name;
    if (std::filesystem::exists(from)) std::filesystem::copy_file(from, folder / name);
  }
}

}  // namespace lockstep::test
