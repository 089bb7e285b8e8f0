#include "eval/task.h"

#include <fmt/format.h>

#include <algorithm>
#include <nlohmann/json.hpp>
#include <random>
#include <span>

#include "base/file.h"
#include "eval/row.h"
#include "hub/content_hash.h"
#include "lockstep/error.h"

namespace lockstep::eval {
namespace {

/// A row before it is text: what every format has.
struct Question {
  std::string id = {}, question = {}, subject = {}, answer = {};
  std::vector<std::string> choices = {};
  std::vector<size_t> right = {};
  /// Where choices are weighed behind contexts of their own (WinoGrande).
  std::vector<std::string> contexts = {};
};

struct Kind {
  const char* name;
  const char* metric;
  int64_t shots;
  Format format;
  Question (*read)(const Row& row, std::mt19937_64& random);
};

std::string letter(size_t i) { return std::string(1, static_cast<char>('A' + i)); }

Question read_gsm8k(const Row& row, std::mt19937_64&) {
  Question q{.question = row.text("question"), .answer = row.text("answer")};
  if (final_number(q.answer).empty()) row.fail("answer", "text that ends in a number", q.answer);
  return q;
}

Question read_mmlu(const Row& row, std::mt19937_64&) {
  Question q{.question = trimmed(row.text("question")), .choices = row.texts("choices")};
  q.subject = row.text_or("subject", "");
  std::ranges::replace(q.subject, '_', ' ');
  q.right = {row.index("answer", q.choices.size())};
  return q;
}

// What wikiHow's pages leave in the text.
std::string without_marks(std::string text) {
  text = replaced(trimmed(text), " [title]", ". ");
  for (size_t open = text.find('['); open != std::string::npos; open = text.find('[', open)) {
    const size_t close = text.find(']', open);
    if (close == std::string::npos) break;
    text.erase(open, close - open + 1);
  }
  return replaced(text, "  ", " ");
}

Question read_hellaswag(const Row& row, std::mt19937_64&) {
  Question q;
  if (row.has("ctx_a")) {
    const std::string label = row.text_or("activity_label", "");
    std::string rest = row.text_or("ctx_b", "");
    if (!rest.empty()) rest = " " + capitalised(rest);
    q.question = fmt::format("{}{}{}{}", label, label.empty() ? "" : ": ", row.text("ctx_a"), rest);
  } else {
    q.question = row.text("ctx");
  }
  q.question = without_marks(q.question);
  for (const std::string& ending : row.texts("endings")) q.choices.push_back(without_marks(ending));
  q.right = {row.index("label", q.choices.size())};
  return q;
}

Question read_arc(const Row& row, std::mt19937_64&) {
  const Row choices = row.object("choices");
  Question q{.question = row.text("question"), .choices = choices.texts("text")};
  const std::vector<std::string> labels = choices.texts("label");
  const auto at = std::ranges::find(labels, row.text("answerKey"));
  if (labels.size() != q.choices.size() || at == labels.end()) {
    row.fail("answerKey", "one of choices.label, which are as many as choices.text",
             row.text("answerKey"));
  }
  q.right = {static_cast<size_t>(at - labels.begin())};
  return q;
}

Question read_winogrande(const Row& row, std::mt19937_64&) {
  const std::string sentence = row.text("sentence");
  const size_t gap = sentence.find('_');
  if (gap == std::string::npos) row.fail("sentence", "a text with one _", sentence);
  Question q;
  for (const char* option : {"option1", "option2"}) {
    q.contexts.push_back(sentence.substr(0, gap) + row.text(option));
    q.choices.push_back(trimmed(sentence.substr(gap + 1)));
  }
  const std::string answer = row.text("answer");
  if (answer != "1" && answer != "2") row.fail("answer", "1 or 2", answer);
  q.right = {answer == "1" ? size_t{0} : size_t{1}};
  q.question = q.contexts[q.right.front()];
  return q;
}

Question read_truthfulqa(const Row& row, std::mt19937_64&) {
  const Row targets = row.object("mc2_targets");
  Question q{.question = row.text("question"), .choices = targets.texts("choices")};
  const std::vector<int64_t> labels = targets.numbers("labels");
  if (labels.size() != q.choices.size()) row.fail("mc2_targets.labels", "one a choice", "others");
  for (size_t i = 0; i < labels.size(); ++i) {
    if (labels[i] == 1) q.right.push_back(i);
  }
  if (q.right.empty()) row.fail("mc2_targets.labels", "at least one 1", "none");
  return q;
}

Question read_gpqa(const Row& row, std::mt19937_64& random) {
  Question q{.question = trimmed(row.text("Question"))};
  std::vector<std::string> answers = {trimmed(row.text("Correct Answer"))};
  for (int i = 1; i <= 3; ++i) {
    answers.push_back(trimmed(row.text(fmt::format("Incorrect Answer {}", i).c_str())));
  }
  std::vector<size_t> order = {0, 1, 2, 3};
  // Written out: std::shuffle is another one in each library.
  for (size_t i = order.size() - 1; i > 0; --i) std::swap(order[i], order[random() % (i + 1)]);
  for (size_t i = 0; i < order.size(); ++i) {
    q.choices.push_back(answers[order[i]]);
    if (order[i] == 0) q.right = {i};
  }
  return q;
}

const std::vector<Kind>& kinds() {
  const Format qa{.question = "Question: {question}\nAnswer:", .answer = " {answer}"};
  Format gsm8k = qa;
  gsm8k.stop = {"Question:", "</s>", "<|im_end|>"};
  Format letters = qa;
  letters.question = "{question}\n{choices}\nAnswer:";
  letters.by_letter = true;
  Format mmlu = letters;
  mmlu.description =
      "The following are multiple choice questions (with answers) about {subject}.\n\n";
  Format gpqa = letters;
  gpqa.question = "Question: {question}\nChoices:\n{choices}\nAnswer:";
  const Format plain{.question = "{question}", .answer = " {answer}"};
  const Format truthful{.question = "Q: {question}\nA:", .answer = " {answer}"};
  static const std::vector<Kind> all = {
      {"arc", "acc_norm", 0, qa, read_arc},
      {"gpqa", "acc", 0, gpqa, read_gpqa},
      {"gsm8k", "exact_match", 8, gsm8k, read_gsm8k},
      {"hellaswag", "acc_norm", 0, plain, read_hellaswag},
      {"mmlu", "acc", 5, mmlu, read_mmlu},
      {"truthfulqa", "mc2", 0, truthful, read_truthfulqa},
      {"winogrande", "acc", 0, plain, read_winogrande},
  };
  return all;
}

const Kind& kind_of(std::string_view name) {
  for (const Kind& kind : kinds()) {
    if (kind.name == name) return kind;
  }
  throw Error(ErrorCode::kNotFound, fmt::format("task {}: there is none of that name", name),
              fmt::format("one of {}", fmt::join(task_names(), ", ")));
}

// Texts of strangers stand in formats: each name is replaced once, where the format has it.
std::string filled(std::string_view format, const Question& q, const std::string& answer) {
  std::string lettered;
  for (size_t i = 0; i < q.choices.size(); ++i) {
    lettered += fmt::format("{}{}. {}", i == 0 ? "" : "\n", letter(i), q.choices[i]);
  }
  const std::pair<std::string_view, const std::string*> names[] = {{"{question}", &q.question},
                                                                   {"{answer}", &answer},
                                                                   {"{subject}", &q.subject},
                                                                   {"{choices}", &lettered}};
  std::string out;
  for (size_t i = 0; i < format.size();) {
    const auto name = std::ranges::find_if(
        names, [&](const auto& n) { return format.substr(i).starts_with(n.first); });
    if (name == std::end(names)) {
      out += format[i++];
    } else {
      out += *name->second;
      i += name->first.size();
    }
  }
  return out;
}

// What is weighed, or expected, for choice `i`.
std::string answer_text(const Format& format, const Question& q, size_t i) {
  return q.choices.empty() ? q.answer : format.by_letter ? letter(i) : q.choices[i];
}

std::string shot_text(const Format& format, const Question& q) {
  const size_t right = q.right.empty() ? 0 : q.right.front();
  return filled(format.question, q, "") + filled(format.answer, q, answer_text(format, q, right)) +
         format.separator;
}

Item item_of(const Format& format, const Question& q, const std::string& shots) {
  Item item;
  item.id = q.id;
  const std::string before = filled(format.description, q, "") + shots;
  if (q.choices.empty()) {
    item.prompt = before + filled(format.question, q, "");
    item.answer = q.answer;
    item.stop = format.stop;
    item.max_tokens = format.max_tokens;
    return item;
  }
  for (size_t i = 0; i < q.choices.size(); ++i) {
    Question one = q;
    if (!q.contexts.empty()) one.question = q.contexts[i];
    const std::string answer = answer_text(format, q, i);
    item.choices.push_back({before + filled(format.question, one, ""),
                            filled(format.answer, one, answer), n_code_points(answer)});
  }
  item.right = q.right;
  return item;
}

struct File {
  std::vector<Question> questions;
  Format format;
};

Format read_format(const Row& row, Format format) {
  const Row own = row.object("format");
  own.only({"description", "question", "answer", "separator", "by_letter", "stop", "max_tokens"});
  format.description = own.text_or("description", format.description);
  format.question = own.text_or("question", format.question);
  format.answer = own.text_or("answer", format.answer);
  format.separator = own.text_or("separator", format.separator);
  if (own.has("by_letter")) format.by_letter = own.flag("by_letter");
  if (own.has("stop")) format.stop = own.texts("stop");
  if (own.has("max_tokens")) format.max_tokens = own.positive("max_tokens");
  return format;
}

File read_file(const Kind& kind, const std::filesystem::path& path, uint64_t seed) {
  File file;
  file.format = kind.format;
  std::mt19937_64 random(seed);
  bool is_first = true;
  for_each_row(read_text_file(path), path.string(), [&](const Row& row) {
    if (is_first && row.has("format")) {
      file.format = read_format(row, file.format);
    } else {
      Question q = kind.read(row, random);
      if (q.choices.size() > 26)
        row.fail("choices", "at most 26", fmt::format("{}", q.choices.size()));
      if (q.choices.size() == 1) row.fail("choices", "at least two", "one");
      q.id = row.id();
      file.questions.push_back(std::move(q));
    }
    is_first = false;
  });
  return file;
}

}  // namespace

std::vector<std::string> task_names() {
  std::vector<std::string> names;
  for (const Kind& kind : kinds()) names.emplace_back(kind.name);
  return names;
}

Task read_task(std::string_view name, const std::filesystem::path& path,
               const TaskOptions& options) {
  const Kind& kind = kind_of(name);
  File file = read_file(kind, path, options.seed);
  const int64_t n_shots = options.shots >= 0 ? options.shots : kind.shots;
  const bool has_own = !options.shots_file.empty();
  std::vector<Question> examples =
      has_own ? read_file(kind, options.shots_file, options.seed).questions : file.questions;
  if (static_cast<int64_t>(examples.size()) < n_shots) {
    throw Error(
        ErrorCode::kInvalidArgument,
        fmt::format("{}: expected {} examples, found {} rows",
                    (has_own ? options.shots_file : path).string(), n_shots, examples.size()),
        "give fewer with --shots, or a file of examples with --shots-file");
  }
  std::string shots;
  for (int64_t i = 0; i < n_shots; ++i) {
    shots += shot_text(file.format, examples[static_cast<size_t>(i)]);
  }
  Task task{.name = kind.name, .file = path, .shots = n_shots, .metric = kind.metric};
  const auto first = has_own ? size_t{0} : static_cast<size_t>(n_shots);
  double guesses = 0;
  ContentHash hash(ContentHash::Kind::kSha256, 0);
  const auto add = [&](const std::string& text) {
    hash.add(std::as_bytes(std::span(text)));
    hash.add(std::as_bytes(std::span("", 1)));
  };
  for (size_t i = first; i < file.questions.size(); ++i) {
    if (options.limit > 0 && static_cast<int64_t>(task.items.size()) == options.limit) break;
    Item item = item_of(file.format, file.questions[i], shots);
    for (const Choice& choice : item.choices) {
      add(choice.context);
      add(choice.continuation);
    }
    add(item.prompt);
    add(item.answer);
    add(fmt::format("{}", fmt::join(item.right, ",")));
    if (!item.is_generation()) {
      guesses += static_cast<double>(item.right.size()) / static_cast<double>(item.choices.size());
    }
    task.items.push_back(std::move(item));
  }
  if (task.items.empty()) {
    throw Error(ErrorCode::kInvalidArgument,
                fmt::format("{}: expected rows of {} beside {} examples, found none", path.string(),
                            kind.name, has_own ? 0 : n_shots));
  }
  task.chance = guesses / static_cast<double>(task.items.size());
  task.fingerprint = hash.finish();
  return task;
}

std::string final_number(std::string_view text) {
  const auto is_digit = [](char c) { return c >= '0' && c <= '9'; };
  const size_t mark = text.rfind("####");
  if (mark != std::string_view::npos) text.remove_prefix(mark + 4);
  std::string number;
  for (size_t i = 0; i < text.size();) {
    const bool is_signed = text[i] == '-' && i + 1 < text.size() && is_digit(text[i + 1]);
    if (!is_digit(text[i]) && !is_signed) {
      ++i;
      continue;
    }
    std::string found(1, text[i++]);
    while (i < text.size() && (is_digit(text[i]) || text[i] == ',' || text[i] == '.')) {
      if (text[i] != ',') found += text[i];
      ++i;
    }
    while (found.ends_with('.')) found.pop_back();
    number = found;
    if (mark != std::string_view::npos) break;
  }
  return number;
}

}  // namespace lockstep::eval
