#include "text/tokenizer.h"

#include <fmt/format.h>

#include <mutex>
#include <utility>

#include "base/file.h"
#include "base/text.h"
#include "lockstep/error.h"
#include "text/added_tokens.h"
#include "text/decoder.h"
#include "text/json_part.h"
#include "text/model.h"
#include "text/normalizer.h"
#include "text/post_processor.h"
#include "text/pre_tokenizer.h"
#include "text/sentencepiece_model.h"
#include "text/tokenizer_config.h"
#include "text/utf8.h"

namespace lockstep::text {
namespace {

constexpr size_t kMaxFileBytes = size_t{1} << 30;

std::vector<AddedToken> read_added_tokens(const JsonPart& part) {
  std::vector<AddedToken> tokens;
  for (const JsonPart& entry : part.elements()) {
    static_cast<void>(entry.member("id").as_id());
    AddedToken token;
    token.content = entry.member("content").as_string();
    token.single_word = entry.member("single_word").as_bool();
    token.lstrip = entry.member("lstrip").as_bool();
    token.rstrip = entry.member("rstrip").as_bool();
    token.normalized = entry.member("normalized").as_bool();
    token.special = entry.member("special").as_bool();
    tokens.push_back(std::move(token));
  }
  return tokens;
}

class StringSink : public TokenSink {
 public:
  explicit StringSink(std::string& out) : out_(out) {}
  void text(std::string_view part) override { out_ += part; }
  void end_token() override {}
  void finish() override {}

 private:
  std::string& out_;
};

}  // namespace

class Tokenizer::Impl {
 public:
  void read(const JsonPart& root);
  void read_sentencepiece(const std::filesystem::path& path);
  void configure(const TokenizerConfig& config, bool has_tokenizer_json);
  /// After the last change of tokens.
  void index_tokens();

  std::vector<int32_t> encode(std::string_view text) const;
  void encode_span(std::string_view text, bool from_start, size_t max_bytes,
                   Model::Scratch* scratch, std::vector<int32_t>& ids) const;
  void encode_pieces(std::string_view text, bool from_start, size_t max_bytes,
                     Model::Scratch* scratch, std::vector<int32_t>& ids) const;

  std::unique_ptr<Normalizer> normalizer;
  std::unique_ptr<PreTokenizer> pre_tokenizer;
  std::unique_ptr<Model> model;
  AddedTokens added;
  PostProcessor post_processor;
  std::unique_ptr<Decoder> decoder, clean_up;
  bool is_bpe = false;
  bool has_post_processor = false;
  bool split_special_tokens = false;

  struct Token {
    std::string_view text;  // without data() where the id has no token
    bool special = false;
  };
  std::vector<Token> tokens;  // by id

 private:
  /// Lends a scratch for one call.
  class Lent;
  mutable std::mutex mutex_;
  mutable std::vector<std::unique_ptr<Model::Scratch>> scratches_;
};

class Tokenizer::Impl::Lent {
 public:
  explicit Lent(const Impl& impl) : impl_(impl) {
    const std::lock_guard lock(impl_.mutex_);
    if (impl_.scratches_.empty()) {
      scratch_ = impl_.model->make_scratch();
    } else {
      scratch_ = std::move(impl_.scratches_.back());
      impl_.scratches_.pop_back();
    }
  }
  Lent(const Lent&) = delete;
  Lent& operator=(const Lent&) = delete;
  ~Lent() {
    const std::lock_guard lock(impl_.mutex_);
    impl_.scratches_.push_back(std::move(scratch_));
  }
  Model::Scratch* get() const noexcept { return scratch_.get(); }

 private:
  const Impl& impl_;
  std::unique_ptr<Model::Scratch> scratch_;
};

void Tokenizer::Impl::read(const JsonPart& root) {
  if (const std::optional<JsonPart> version = root.optional("version")) {
    if (version->as_string() != "1.0") version->fail("\"1.0\"", version->describe());
  }
  if (const std::optional<JsonPart> part = root.optional("normalizer")) {
    normalizer = make_normalizer(*part);
  }
  if (const std::optional<JsonPart> part = root.optional("pre_tokenizer")) {
    pre_tokenizer = make_pre_tokenizer(*part);
  }
  const JsonPart model_part = root.member("model");
  const bool bytes =
      pre_tokenizer != nullptr && model_takes_bytes(model_part) && pre_tokenizer->keep_bytes();
  model = make_model(model_part, bytes ? PieceForm::kBytes : PieceForm::kText);
  is_bpe = model_part.optional("merges").has_value();
  if (const std::optional<JsonPart> part = root.optional("post_processor")) {
    post_processor = PostProcessor(*part);
    has_post_processor = true;
  }
  if (const std::optional<JsonPart> part = root.optional("decoder")) {
    decoder = make_decoder(*part);
  } else {
    decoder = make_joining_decoder();
  }
  if (const std::optional<JsonPart> part = root.optional("added_tokens")) {
    added.add(read_added_tokens(*part), *model, normalizer.get());
  }
}

// What transformers does when it loads a tokenizer: adds the tokens that tokenizer_config.json
// names and the file lacks. add_bos_token and add_eos_token count only without a tokenizer.json.
void Tokenizer::Impl::configure(const TokenizerConfig& config, bool has_tokenizer_json) {
  std::vector<AddedToken> missing;
  const auto is_known = [&](const AddedToken& token) {
    const std::optional<int32_t> id = added.find(token.content);
    return id.has_value() && *added.token(*id) == token;
  };
  for (const AddedToken& token : config.added_tokens) {
    if (!is_known(token)) missing.push_back(token);
  }
  for (const AddedToken& token : config.special_tokens) {
    const auto same = [&](const AddedToken& other) { return other.content == token.content; };
    if (added.find(token.content).has_value() || std::ranges::any_of(missing, same)) continue;
    missing.push_back(token);
  }
  added.add(missing, *model, normalizer.get());
  split_special_tokens = config.split_special_tokens;
  if (config.clean_up_tokenization_spaces && (!is_bpe || config.clean_up_even_bpe)) {
    clean_up = make_clean_up_decoder();
  }
  if (has_tokenizer_json) return;
  const auto id_of = [&](const std::optional<std::string>& token, std::optional<bool> wanted) {
    std::optional<int32_t> id;
    if (!wanted.value_or(false) || !token.has_value()) return id;
    id = added.find(*token);
    return id.has_value() ? id : model->token_to_id(*token);
  };
  post_processor = PostProcessor(id_of(config.bos_token, config.add_bos_token),
                                 id_of(config.eos_token, config.add_eos_token));
}

void Tokenizer::Impl::read_sentencepiece(const std::filesystem::path& path) {
  SentencePiece loaded = load_sentencepiece(path);
  model = std::move(loaded.model);
  decoder = std::move(loaded.decoder);
  is_bpe = true;
  added.add(loaded.added_tokens, *model, nullptr);
}

void Tokenizer::Impl::index_tokens() {
  size_t limit = model->id_limit();
  const std::vector<int32_t> added_ids = added.ids();
  for (const int32_t id : added_ids) limit = std::max(limit, static_cast<size_t>(id) + 1);
  tokens.assign(limit, {});
  for (size_t id = 0; id < model->id_limit(); ++id) {
    if (const auto text = model->id_to_token(id)) tokens[id].text = *text;
  }
  for (const int32_t id : added_ids) {
    Token& token = tokens[static_cast<size_t>(id)];
    if (const auto text = added.text_of(id)) token.text = *text;
    token.special = added.is_special(token.text);
  }
}

std::vector<int32_t> Tokenizer::Impl::encode(std::string_view text) const {
  const Lent scratch(*this);
  std::vector<int32_t> ids;
  ids.reserve(text.size() / 4 + 16);
  const size_t max_bytes = StagedText::max_bytes_for(text.size());
  std::vector<AddedTokens::Span> spans;
  added.find_in_raw(text, split_special_tokens, spans);
  for (const AddedTokens::Span& span : spans) {
    if (span.id >= 0) {
      ids.push_back(span.id);
    } else {
      encode_span(text.substr(span.begin, span.end - span.begin), span.begin == 0, max_bytes,
                  scratch.get(), ids);
    }
  }
  return ids;
}

void Tokenizer::Impl::encode_span(std::string_view text, bool from_start, size_t max_bytes,
                                  Model::Scratch* scratch, std::vector<int32_t>& ids) const {
  StagedText staged{"", from_start, max_bytes};
  if (normalizer != nullptr) {
    staged.text = text;
    normalizer->apply(staged);
    text = staged.text;
  }
  std::vector<AddedTokens::Span> spans;
  added.find_in_normalized(text, split_special_tokens, spans);
  for (const AddedTokens::Span& span : spans) {
    if (span.id >= 0) {
      ids.push_back(span.id);
    } else {
      encode_pieces(text.substr(span.begin, span.end - span.begin),
                    staged.from_start && span.begin == 0, max_bytes, scratch, ids);
    }
  }
}

void Tokenizer::Impl::encode_pieces(std::string_view text, bool from_start, size_t max_bytes,
                                    Model::Scratch* scratch, std::vector<int32_t>& ids) const {
  Pieces pieces(text, from_start, max_bytes);
  if (pre_tokenizer != nullptr) pre_tokenizer->apply(pieces);
  for (const Piece& piece : pieces.pieces()) {
    if (piece.begin == 0 && pieces.from_start()) {
      model->encode(pieces.text_of(piece), scratch, ids);
    } else {
      model->encode_inside(pieces.text_of(piece), scratch, ids);
    }
  }
}

Tokenizer::Tokenizer(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
Tokenizer::Tokenizer(Tokenizer&&) noexcept = default;
Tokenizer& Tokenizer::operator=(Tokenizer&&) noexcept = default;
Tokenizer::~Tokenizer() = default;

Tokenizer Tokenizer::open(const std::filesystem::path& folder) {
  const std::filesystem::path json_path = folder / "tokenizer.json";
  const std::filesystem::path model_path = folder / "tokenizer.model";
  auto impl = std::make_unique<Impl>();
  const bool has_json = std::filesystem::exists(json_path);
  if (has_json) {
    const JsonFile file(read_text_file(json_path, kMaxFileBytes), json_path.string());
    impl->read(file.root());
  } else if (std::filesystem::exists(model_path)) {
    impl->read_sentencepiece(model_path);
  } else {
    throw Error(ErrorCode::kNotFound,
                fmt::format("{}: no tokenizer.json and no tokenizer.model", folder.string()),
                "give token ids instead of text, or fetch the tokenizer's files");
  }
  impl->configure(TokenizerConfig::load(folder), has_json);
  impl->index_tokens();
  return Tokenizer(std::move(impl));
}

Tokenizer Tokenizer::parse(std::string_view json, std::string file) {
  auto impl = std::make_unique<Impl>();
  impl->read(JsonFile(json, std::move(file)).root());
  impl->index_tokens();
  return Tokenizer(std::move(impl));
}

std::vector<int32_t> Tokenizer::encode(std::string_view text, EncodeOptions options) const {
  if (const size_t at = find_invalid_utf8(text); at != text.npos) {
    throw Error(ErrorCode::kInvalidArgument,
                fmt::format("the text is not UTF-8: byte 0x{:02x} at offset {}",
                            static_cast<unsigned char>(text[at]), at));
  }
  return impl_->post_processor.apply(impl_->encode(text), options.add_special_tokens);
}

std::string Tokenizer::decode(std::span<const int32_t> ids, DecodeOptions options) const {
  std::string text;
  text.reserve(4 * ids.size());
  StringSink out(text);
  const std::unique_ptr<TokenSink> run = start_decoding(out);
  for (const int32_t id : ids) {
    if (const std::optional<std::string_view> token = decodable(id, options)) {
      run->whole_token(*token);
    }
  }
  run->finish();
  return text;
}

std::optional<int32_t> Tokenizer::token_to_id(std::string_view token) const {
  const std::optional<int32_t> id = impl_->added.find(token);
  return id.has_value() ? id : impl_->model->token_to_id(token);
}

std::optional<std::string_view> Tokenizer::id_to_token(int32_t id) const {
  return decodable(id, {});
}

size_t Tokenizer::id_limit() const noexcept { return impl_->tokens.size(); }

std::vector<int32_t> Tokenizer::prefix_ids() const { return impl_->post_processor.prefix(); }

bool Tokenizer::is_special(int32_t id) const noexcept {
  return id >= 0 && static_cast<size_t>(id) < id_limit() &&
         impl_->tokens[static_cast<size_t>(id)].special;
}

std::optional<std::string_view> Tokenizer::decodable(int32_t id,
                                                     DecodeOptions options) const noexcept {
  if (id < 0 || static_cast<size_t>(id) >= id_limit()) return std::nullopt;
  const Impl::Token& token = impl_->tokens[static_cast<size_t>(id)];
  if (token.text.data() == nullptr) return std::nullopt;
  if (options.skip_special_tokens && token.special) return std::nullopt;
  return token.text;
}

namespace {

/// One run after the other, the last of which hands on to `out`.
class TwoRuns : public TokenSink {
 public:
  TwoRuns(const Decoder& first, const Decoder& second, TokenSink& out)
      : second_(second.start(out)), first_(first.start(*second_)) {}
  void text(std::string_view part) override { first_->text(part); }
  void end_token() override { first_->end_token(); }
  void finish() override { first_->finish(); }

 private:
  std::unique_ptr<TokenSink> second_, first_;
};

}  // namespace

std::unique_ptr<TokenSink> Tokenizer::start_decoding(TokenSink& out) const {
  if (impl_->clean_up == nullptr) return impl_->decoder->start(out);
  return std::make_unique<TwoRuns>(*impl_->decoder, *impl_->clean_up, out);
}

}  // namespace lockstep::text
